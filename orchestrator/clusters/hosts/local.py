"""LocalBackend: the Backend protocol on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.clusters.hosts import machine
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.run import Observation, Question, Submission

if TYPE_CHECKING:
    from orchestrator.clusters.hosts.watch import Watch

T = TypeVar("T")


class LocalBackend:
    """Runs below $ORCH_HOME/runs. All state is in their directories and in the agents."""

    kind = "local"
    pace = 0.0
    at_once = 1  # agents are forked

    def __init__(self, name: str, profile: Profile, home: Path | str) -> None:
        self._name = name
        self._profile = profile
        self._home = Path(home)

    @cached_property
    def _watch(self) -> Watch:
        # Slow to import, and who submits does not watch.
        from orchestrator.clusters.hosts import reading, watch
        from orchestrator.clusters.hosts.group import ThisMachine

        return watch.Watch(ThisMachine(), lambda: [reading.HERE], alone=True)

    def ready(self) -> None:
        """This machine is always there."""

    def probe(self) -> Cluster:
        found = machine.look(os.environ)
        first = found.gpus[0] if found.gpus else None
        profile = self._profile
        return Cluster(
            name=self._name,
            profile=profile,
            gpus_per_node=found.gpu_count or None,
            gpu=profile.gpu or (first.name if first else None),
            gpu_memory=profile.gpu_memory or (first.memory if first else None),
            host_memory=profile.host_memory or found.host_memory,
            device=found.device if profile.device == "auto" else profile.device,
            one_machine=True,
        )

    def hosts(self) -> Sequence[str]:
        return ()  # every node is this machine

    def run_dir(self, run: str) -> str:
        return str(self._home / "runs" / run)

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        from orchestrator.clusters.hosts import starting  # `orch plan` and `orch render` do without

        return starting.start(submission, bundle, secrets)

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        from orchestrator.clusters import observation

        # One by one costs nothing here, and what is wrong with one run then hides no other.
        return observation.each(questions, lambda one: self._watch.observe([one])[one.submission.run])

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return self._watch.read(operations, seconds=seconds)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._watch.cancel(submission, now=now)
