"""HostsBackend: what the backends of this machine and of a list of hosts have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from orchestrator.clusters.attempts import start_id
from orchestrator.clusters.hosts.group import Hosts
from orchestrator.clusters.hosts.watch import Watch
from orchestrator.clusters.transport import SECONDS
from orchestrator.errors import OrchError, Unreachable
from orchestrator.job.protocol.files import attempt_dir
from orchestrator.job.protocol.operations import Choice, Kill, Operation, ReadHosts, RequestStop, Terminate
from orchestrator.model.run import Observation, Question, Submission

T = TypeVar("T")


class HostsBackend:
    """Agents on hosts. All state is in the runs' directories and in the agents."""

    at_once = 1  # each start already asks all of its hosts at the same time

    def __init__(self, group: Hosts, watch: Watch) -> None:
        self._group = group
        self._watch = watch

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        return self._watch.observe(questions) if questions else {}

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return self._watch.read(operations, seconds=seconds)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        known = self._watch.known(submission)
        if not now and known.hosts and known.asked.issuperset(known.hosts):
            return
        request = RequestStop(submission.dir, submission.attempt)
        _, choice = self._watch.read([request, ReadHosts(submission.dir, submission.attempt)])
        if isinstance(choice, Choice) and choice.chosen is not None:
            known.hosts = choice.chosen.names
        hosts = dict.fromkeys(known.hosts)
        operation = Kill(start_id(submission)) if now else Terminate(start_id(submission))
        asked = [host for host in hosts if now or host not in known.asked]
        answers = self._group.glance({host: [operation] for host in asked})
        reached = {host: answer[0] for host, answer in answers.items() if not isinstance(answer, OrchError)}
        if not now:
            known.asked.update(reached)
        if asked and not reached:
            raise Unreachable(f"none of {', '.join(asked)} answers", hint="it is tried again")
        stuck = [f"{host}: {list(left.pids)}" for host, left in reached.items() if now and left.pids]
        if stuck:
            raise Unreachable(f"processes do not die; they may wait for a disk: {'; '.join(stuck)}")


def place_of(submission: Submission) -> Path:
    """The directory of an attempt."""
    return attempt_dir(submission.dir, submission.attempt)
