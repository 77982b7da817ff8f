"""A cluster that says what a test tells it to: for what no real one can be made to say at a wanted moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Barrier
from typing import TypeVar

from orchestrator.clusters import kind_of
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster
from orchestrator.model.run import Metrics, Observation, Phase, Question, Submission

T = TypeVar("T")


class Scripted:
    """Answers for every attempt that was handed over what `says` has under its run's name, else `otherwise`."""

    kind = "slurm"

    def __init__(self, pace: float = 0.0) -> None:
        self.pace = pace
        self.at_once = 1
        self.says: dict[str, Observation] = {}
        self.otherwise = Observation(phase=Phase.QUEUED)
        self.is_down = False  # its scheduler
        self.is_lost = False  # the machine that its nodes are listed on
        self.observes = 0
        self.reads = 0
        self.without_handle = Observation(phase=Phase.PENDING)
        self.news: Metrics | None = None
        self.refuses: set[str] = set()  # runs whose attempts are refused
        self.gate: Barrier | None = None  # so many hand-overs are answered together
        self.submits: list[str] = []
        self.cancels: list[tuple[str, bool]] = []

    def ready(self) -> None:
        return

    def probe(self) -> Cluster:
        return Cluster(name="local", profile=kind_of(self.kind).profile(kind=self.kind))

    def hosts(self) -> Sequence[str]:
        self.reads += 1
        if self.is_lost:
            raise Unreachable("the login node did not answer within 75 s")
        return ("on01", "on02")

    def run_dir(self, run: str) -> str:
        return f"/shared/{run}"

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        self.submits.append(submission.name)
        if self.is_down:
            raise Unreachable("the scheduler did not answer within 10 s")
        if submission.run in self.refuses:
            raise ClusterError("invalid partition specified: gpuu")
        if self.gate is not None:
            self.gate.wait(10)
        return str(len(self.submits))

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        self.observes += 1
        return {question.submission.run: self._answer(question) for question in questions}

    def _answer(self, question: Question) -> Observation:
        submission, news = question.submission, self.news
        said = self.says.get(submission.run, self.otherwise)
        found = said if submission.handle is not None else self.without_handle
        return replace(found, metrics=news if news is not None and news.mark != question.mark else None)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self.cancels.append((submission.run, now))
        if self.is_down:
            raise Unreachable("the scheduler did not answer within 10 s")

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return []
