"""Asks this machine, or every host of a list, what `orch clusters check` wants to know."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from orchestrator.clusters import interpreter, shared_directory
from orchestrator.clusters.checkup import answers_of, transport_of
from orchestrator.clusters.findings import Answer, Findings, problem
from orchestrator.clusters.hosts import check
from orchestrator.clusters.hosts.local import LocalBackend
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kind import Place
from orchestrator.clusters.transport import LocalTransport
from orchestrator.config import hostfile
from orchestrator.errors import OrchError
from orchestrator.job.protocol.operations.commands import RunCommand

AT_ONCE = 16  # hosts


def check_machine(place: Place) -> Findings:
    profile, home = place.profile, place.home
    found = LocalBackend(place.name, profile, home).probe()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    python = profile.python or sys.executable
    asked = {
        "python": interpreter.question(python, ()),
        "place": shared_directory.question(str(home)),
    }
    answers = answers_of(LocalTransport(), asked)
    return check.judge_machine(found, python, answers["python"], str(home), answers["place"])


def check_hosts(place: Place) -> Findings:
    profile = place.profile
    try:
        hosts = hosts_of(profile)
    except OrchError as error:
        return [problem("hosts", str(error), error.hint or "fix the hostfile")], [], []
    if not hosts:
        return [problem("hosts", f"{place.name} has none", "set `hosts` or `hostfile` in the profile")], [], []
    if place.interactive:  # one after the other: only one can ask at the terminal
        _each(hosts, lambda host: _opened(profile, host), at_once=1)
    meeting = f"{profile.shared_dir}/.orch-check-{os.urandom(8).hex()}" if profile.shared_dir is not None else None

    def ask(host: str, asked: Mapping[str, RunCommand]) -> dict[str, Answer]:
        return answers_of(transport_of(host, profile, interactive=False), asked)

    answers = _each(hosts, lambda host: ask(host, check.questions(profile, meeting, hosts.index(host))))
    seen: dict[str, Answer] = {}
    if meeting is not None:
        good = [host for host in hosts if not isinstance(answers[host], OrchError)]
        looked = _each(good, lambda host: ask(host, {"seen": check.sees(meeting)}))
        seen = {host: answer["seen"] for host, answer in looked.items() if not isinstance(answer, OrchError)}
        _each(good, lambda host: ask(host, {"take": check.take_away(meeting, hosts.index(host))}))
    return check.judge_hosts(profile, hosts, answers, seen)


def _opened(profile: SshProfile, host: str) -> dict[str, Answer]:
    """Make the shared connection to a host; what fails now fails again when it is asked, and is told then."""
    transport_of(host, profile, interactive=True)
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


def hosts_of(profile: SshProfile) -> tuple[str, ...]:
    """The hosts of a profile without those that are never used. Raises JobError for a hostfile with mistakes."""
    names = profile.hosts
    if profile.hostfile is not None:
        from orchestrator.config import yamlfile

        names = tuple(host.name for host in hostfile.parse(yamlfile.read(profile.hostfile), profile.hostfile))
    return tuple(dict.fromkeys(host for host in names if host not in profile.exclude))
