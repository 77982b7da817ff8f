"""Looks at a cluster: asks what its kind's module here wants to know, and has that judge the answers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.clusters import interpreter, open_backend, shared_directory
from orchestrator.clusters.findings import Answer, Checkup, Finding, ok, problem
from orchestrator.clusters.local import check as local
from orchestrator.clusters.slurm import check as slurm
from orchestrator.clusters.ssh import check as ssh
from orchestrator.clusters.transport import Call, LocalTransport, SshTransport, Transport
from orchestrator.config import hostfile
from orchestrator.errors import OrchError
from orchestrator.model.cluster import Kind, Profile

SECONDS = 300.0  # for all questions to one machine
AT_ONCE = 16  # hosts

Judged = tuple[list[Finding], list[str], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is looked at. `home` is $ORCH_HOME; `interactive`: ssh may ask at the terminal."""

    name: str
    profile: Profile
    home: Path
    interactive: bool


def check(place: Place) -> Checkup:
    """Everything that was found at a cluster."""
    kind = place.profile.kind
    findings, can, cannot = _CHECKS[kind](place)
    return Checkup(cluster=place.name, kind=kind, findings=tuple(findings), can=tuple(can), cannot=tuple(cannot))


def answers_of(reach: Transport, asked: Mapping[str, Call]) -> dict[str, Answer]:
    """The answers to questions by name, from one process there. Raises Unreachable and ClusterError."""
    return dict(zip(asked, reach.call(*asked.values(), seconds=SECONDS), strict=True))


def slurm_answers(reach: Transport) -> dict[str, Answer]:
    """What Slurm says of itself, and no more than that it does not answer where it does not."""
    answers = answers_of(reach, slurm.FIRST)
    if all(answer["status"] == 0 for answer in answers.values()):
        answers.update(answers_of(reach, slurm.REST))
    return answers


def transport_of(profile: Profile, host: str | None, *, interactive: bool) -> Transport:
    """The way to a machine of a cluster, this one when `host` is None; with its shared connection made where asked."""
    if host is None:
        return LocalTransport()
    python = profile.python if profile.python is not None and profile.python.startswith("/") else None
    way = SshTransport(host, config=profile.ssh_config, python=python, interactive=interactive)
    if interactive:
        way.open()
    return way


def _slurm(place: Place) -> Judged:
    profile = place.profile
    try:
        reach = transport_of(profile, profile.login, interactive=place.interactive)
        answers = {**slurm_answers(reach), **answers_of(reach, slurm.questions(profile))}
    except OrchError as error:
        todo = error.hint or "see that ssh to it works by hand"
        return [problem("reached", error.message, todo)], [], []
    findings, can, cannot = slurm.judge(profile, answers)
    return [ok("reached", reach.where), *findings], can, cannot


def _ssh(place: Place) -> Judged:
    profile = place.profile
    try:
        hosts = hosts_of(profile)
    except OrchError as error:
        return [problem("hosts", str(error), error.hint or "mend the hostfile")], [], []
    if not hosts:
        return [problem("hosts", f"{place.name} has none", "set `hosts` or `hostfile` in the profile")], [], []
    if place.interactive:  # one after the other: only one can ask at the terminal
        _each(hosts, lambda host: _opened(profile, host), at_once=1)
    meeting = f"{profile.shared_dir}/.orch-check-{os.urandom(8).hex()}" if profile.shared_dir is not None else None

    def ask(host: str, asked: Mapping[str, Call]) -> dict[str, Answer]:
        return answers_of(transport_of(profile, host, interactive=False), asked)

    answers = _each(hosts, lambda host: ask(host, ssh.questions(profile, meeting, hosts.index(host))))
    seen: dict[str, Answer] = {}
    if meeting is not None:
        good = [host for host in hosts if not isinstance(answers[host], OrchError)]
        looked = _each(good, lambda host: ask(host, {"seen": ssh.sees(meeting)}))
        seen = {host: answer["seen"] for host, answer in looked.items() if not isinstance(answer, OrchError)}
        _each(good, lambda host: ask(host, {"take": ssh.take_away(meeting, hosts.index(host))}))
    return ssh.judge(profile, hosts, answers, seen)


def _opened(profile: Profile, host: str) -> dict[str, Answer]:
    """Make the shared connection to a host; what fails now fails again when it is asked, and is told then."""
    transport_of(profile, host, interactive=True)
    return {}


def _each(
    hosts: Sequence[str], ask: Callable[[str], dict[str, Answer]], *, at_once: int = AT_ONCE
) -> dict[str, Mapping[str, Answer] | OrchError]:
    """The answers of many hosts, asked at once."""

    def safely(host: str) -> Mapping[str, Answer] | OrchError:
        try:
            return ask(host)
        except OrchError as error:
            return error

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        return dict(zip(hosts, pool.map(safely, hosts), strict=True))


def hosts_of(profile: Profile) -> tuple[str, ...]:
    """The hosts of a profile without those that are never used. Raises JobError for a hostfile with mistakes."""
    names = profile.hosts
    if profile.hostfile is not None:
        from orchestrator.config import yamlfile

        names = tuple(host.name for host in hostfile.parse(yamlfile.read(profile.hostfile), profile.hostfile))
    return tuple(dict.fromkeys(host for host in names if host not in profile.exclude))


def _local(place: Place) -> Judged:
    profile, home = place.profile, place.home
    found = open_backend(place.name, profile, home).probe()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    python = profile.python or sys.executable
    asked = {
        "python": interpreter.question(python, ()),
        "place": shared_directory.question(str(home)),
    }
    answers = answers_of(LocalTransport(), asked)
    return local.judge(found, python, answers["python"], str(home), answers["place"])


def _kubernetes(place: Place) -> Judged:
    from orchestrator.clusters.kubernetes.api import Api
    from orchestrator.clusters.kubernetes.check import asking, judge

    try:
        answers = asking.ask(Api(place.name, place.profile), place.profile)
    except OrchError as error:
        todo = error.hint or f"see what kubectl{_options(place.profile)} version says"
        return [problem("reached", error.message, todo)], [], []
    return judge.judge(place.profile, answers)


def _options(profile: Profile) -> str:
    """Of kubectl, to reach the same cluster."""
    named = {"kubeconfig": profile.kubeconfig, "context": profile.context}
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in named.items() if value)


def kubernetes_values(name: str, profile: Profile, said: Collection[str]) -> dict[str, Any]:
    """Keys of a profile that its cluster and the kubeconfig can tell, where nothing was `said` of them.

    Raises ClusterError where there is no way to the cluster.
    """
    from orchestrator.clusters.kubernetes.api import Api
    from orchestrator.clusters.kubernetes.check import asking, judge

    api = Api(name, profile)
    found = judge.filled_in(profile, said, asking.look_around(api, profile))
    of_context = {"context": api.context, "namespace": api.named_namespace}
    return {**{key: value for key, value in of_context.items() if value and key not in said}, **found}


_CHECKS: Mapping[Kind, Callable[[Place], Judged]] = {
    "slurm": _slurm,
    "ssh": _ssh,
    "local": _local,
    "kubernetes": _kubernetes,
}
