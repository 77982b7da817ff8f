"""SshBackend: the Backend protocol on a list of hosts that see one shared directory."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from orchestrator.clusters.attempts import (
    place_of,
    refuse_other_run,
    secret_environment,
    start_arguments,
    start_id,
    upload_of,
)
from orchestrator.clusters.hosts import listing
from orchestrator.clusters.hosts.group import Group
from orchestrator.clusters.hosts.listing import Listed
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.hosts.watch import Watch
from orchestrator.clusters.transport import SshTransport, Transport
from orchestrator.errors import ClusterError, OrchError, Unreachable
from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.protocol.operations.agents import (
    Agent,
    CheckHost,
    ChosenHost,
    ChosenHosts,
    HostFacts,
    ReadHosts,
    ReadToken,
    Start,
    Token,
)
from orchestrator.job.protocol.operations.attempts import Uploaded
from orchestrator.job.protocol.operations.commands import RunCommand
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster
from orchestrator.model.run import Observation, Question, Submission

T = TypeVar("T")
_NOTHING = RunCommand(("true",))
ROUNDS = 3  # of starting: another hand-over of the same attempt may have chosen other hosts meanwhile


@dataclass
class _Choosing:
    """The hosts that an attempt may get, in order, and what became of those that were asked."""

    wanted: Sequence[str]
    good: dict[str, HostFacts] = field(default_factory=dict)
    failures: dict[str, OrchError] = field(default_factory=dict)


class SshBackend:
    """Agents on hosts of a list, reached by the system's ssh. All state is on the cluster and in the agents."""

    kind = "ssh"
    pace = 1.0
    at_once = 1  # each start already asks all of its hosts at the same time

    def __init__(self, name: str, profile: SshProfile, _: Path) -> None:
        self._name = name
        self._profile = profile
        self._group = Group(self._reach)
        self._watch = Watch(self._group, self._names)

    def ready(self) -> None:
        if self._profile.shared_dir is None:
            raise ClusterError(
                f"the cluster {self._name} has no shared_dir: its hosts need one directory that all of them see",
                hint="set `shared_dir` in the cluster's profile",
            )
        if shutil.which("ssh") is None:
            raise ClusterError("there is no ssh on this machine", hint="install OpenSSH's client")
        if not self._names():
            raise ClusterError(
                f"the cluster {self._name} lists no hosts", hint="set `hosts` or `hostfile` in the cluster's profile"
            )

    def probe(self) -> Cluster:
        hosts = self._usable_if_listed_here()
        slots = max((host.slots for host in hosts if host.slots is not None), default=None)
        described = Cluster.of_profile(self._name, self._profile)
        return dataclasses.replace(described, nodes=len(hosts) or None, gpus_per_node=slots)

    def hosts(self) -> Sequence[str]:
        return [host.name for host in self._usable()]

    def run_dir(self, run: str) -> str:
        return f"{self._profile.shared_dir or ''}/runs/{run}"

    # --- submit

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        self.ready()
        job = parse(JobFile, bundle.text(files.JOB_FILE), files.JOB_FILE)
        try:
            choosing = _Choosing(wanted=self._candidates(submission, job))
        except ClusterError:
            # The list has become shorter. That ends no attempt that has begun on hosts that were in it.
            (begun,) = self._watch.read([ReadHosts(submission.dir, submission.attempt)])
            if begun.chosen is None:
                raise
            return _handle(
                submission, self._start(submission, begun.chosen, secret_environment(job, secrets), stands=True)
            )
        uploaded, token = self._upload(submission, bundle, choosing)
        refuse_other_run(uploaded)
        chosen = token.chosen
        if not uploaded.asked:
            first = chosen or self._choose(submission, job, choosing, token.token or "")
            chosen = self._start(submission, first, secret_environment(job, secrets), stands=chosen is not None)
        return _handle(submission, chosen)

    def _candidates(self, submission: Submission, job: JobFile) -> list[str]:
        ranks, usable = job.ranks_per_node, self._usable()
        fit = listing.candidates(usable, rather_not=submission.exclude, ranks=ranks)
        if len(fit) < submission.nodes:
            raise listing.too_few(
                submission.nodes, len(fit), self._name, {}, small=listing.too_small(usable, ranks=ranks)
            )
        return [host.name for host in fit]

    def _upload(self, submission: Submission, bundle: Bundle, choosing: _Choosing) -> tuple[Uploaded, Token]:
        """Write the attempt's files through the first host that does it; those that do not are noted."""
        operations = [upload_of(submission, bundle, {}), ReadToken(submission.dir, submission.attempt)]
        for host in self._answering(choosing, submission.nodes):
            answer = self._group.ask({host: operations})[host]
            if not isinstance(answer, OrchError):
                self._watch.reader = host
                uploaded, token = answer
                return uploaded, token
            choosing.failures[host] = answer
        raise listing.too_few(submission.nodes, 0, self._name, choosing.failures)

    def _answering(self, choosing: _Choosing, at_once: int) -> Iterator[str]:
        """The wanted hosts that answer, in order. Some are asked together: a dead one takes a while to be found out."""
        for first in range(0, len(choosing.wanted), at_once):
            some = choosing.wanted[first : first + at_once]
            answers = self._group.ask({host: [_NOTHING] for host in some})
            choosing.failures.update({host: said for host, said in answers.items() if isinstance(said, OrchError)})
            yield from (host for host in some if host not in choosing.failures)

    def _choose(self, submission: Submission, job: JobFile, choosing: _Choosing, token: str) -> ChosenHosts:
        """The first hosts that can take part, in the list's order: as many are asked as are still missing."""
        good, failures = choosing.good, choosing.failures
        left = [host for host in choosing.wanted if host not in failures]
        while left and len(good) < submission.nodes:
            missing = submission.nodes - len(good)
            self._check(submission, left[:missing], choosing, token)
            left = left[missing:]
        if len(good) < submission.nodes:
            raise listing.too_few(submission.nodes, len(good), self._name, failures)
        names = [host for host in choosing.wanted if host in good]
        found = [good[name] for name in names]
        return ChosenHosts(
            start=start_id(submission),
            address=listing.address_of(names[0], found),
            hosts=tuple(
                ChosenHost(name, one.nodename, job.ranks_per_node) for name, one in zip(names, found, strict=True)
            ),
            passed_over={host: error.message for host, error in failures.items()},
        )

    def _check(self, submission: Submission, hosts: Sequence[str], choosing: _Choosing, token: str) -> None:
        check = CheckHost(submission.dir, submission.attempt, token)
        answers = self._group.ask({host: [check] for host in hosts})
        for host, answer in answers.items():
            if isinstance(answer, OrchError):
                choosing.failures[host] = answer
                continue
            wrong = listing.problem(host, answer[0], directory=submission.dir, door=self._watch.reader or "another")
            if wrong is None:
                choosing.good[host] = answer[0]
            else:
                choosing.failures[host] = wrong

    def _start(
        self, submission: Submission, chosen: ChosenHosts, secrets: Mapping[str, str], *, stands: bool
    ) -> ChosenHosts:
        """Start what is not started on the chosen hosts, or on those that another hand-over has chosen before.

        Answers the choice that stands; `stands`: the cluster has recorded this one. It is enough that one host did:
        `observe` misses the others, and an attempt that began is ended before the next. A recorded choice whose hosts
        are all silent has begun, too: they may never come back, and others may be there for the next attempt.
        Raises Unreachable, and nothing else: whatever a host says from here on, agents may run.
        """
        for _ in range(ROUNDS):
            answers = self._group.ask(_start_calls(submission, chosen, secrets))
            said = [answer[0] for answer in answers.values() if not isinstance(answer, OrchError)]
            if not said and not (stands and all(isinstance(answer, Unreachable) for answer in answers.values())):
                raise listing.not_known([answer for answer in answers.values() if isinstance(answer, OrchError)])
            other = next((answer.chosen for answer in said if answer.chosen not in (None, chosen)), None)
            if other is None:
                break
            chosen, stands = other, True
        self._watch.known(submission).hosts = chosen.names
        return chosen

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        return self._watch.observe(questions)

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return self._watch.read(operations, seconds=seconds)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._watch.cancel(submission, now=now)

    # --- the list

    def _reach(self, host: str) -> Transport:
        python = self._profile.python
        # What needs the profile's setup lines to be found is for the job alone.
        plain = python if python is not None and python.startswith("/") else None
        return SshTransport(host, config=self._profile.ssh_config, python=plain)

    def _usable(self) -> list[Listed]:
        never = self._profile.exclude
        return [host for host in listing.listed(self._profile, self._name) if not listing.is_named(host.name, never)]

    def _usable_if_listed_here(self) -> list[Listed]:
        """None where the hostfile is not on this machine: a job can be rendered for another."""
        if self._profile.hostfile is not None and not Path(self._profile.hostfile).is_file():
            return []
        return self._usable()

    def _names(self) -> list[str]:
        return [host.name for host in self._usable()]


def _start_calls(submission: Submission, chosen: ChosenHosts, secrets: Mapping[str, str]) -> dict[str, list[Start]]:
    def start_on(host: str) -> Start:
        nodes = [node for node, name in enumerate(chosen.names) if name == host]
        agents = tuple(_agent(submission, chosen, node, secrets) for node in nodes)
        return Start(submission.dir, submission.attempt, chosen.start, agents, chosen)

    return {host: [start_on(host)] for host in chosen.names}


def _agent(submission: Submission, chosen: ChosenHosts, node: int, secrets: Mapping[str, str]) -> Agent:
    place = place_of(submission)
    argv = ["bash", str(place / files.BUNDLE / files.AGENT_SCRIPT), "--detached", "--run-dir", submission.dir]
    argv += ["--node", str(node), "--attempt", str(submission.attempt), "--start", chosen.start]
    argv += ["--address", chosen.address] if submission.nodes > 1 else []
    named = {"ORCH_HOST": chosen.names[node], "ORCH_HOSTFILE": str(place / files.HOSTFILE)}
    return Agent(node, (*argv, *start_arguments(submission)), {**secrets, **named})


def _handle(submission: Submission, chosen: ChosenHosts | None) -> str:
    """The attempt's start, and for people the hosts that it was given, and those that it was not and why."""
    if chosen is None:
        return start_id(submission)
    passed = "".join(f"; not on {host}: {why}" for host, why in chosen.passed_over.items())
    return f"{start_id(submission)} on {', '.join(chosen.names)}{passed}"
