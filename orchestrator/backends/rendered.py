"""Kubernetes, which is rendered for and not submitted to: a profile's own facts, and a clear answer to all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from orchestrator.backends import Mark, Metrics
from orchestrator.errors import ClusterError
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Kind, Profile
from orchestrator.model.run import Generation, Observation, Submission
from orchestrator.reach import SECONDS, Call

_BY_HAND = "kubectl apply --server-side -f DIR"


class RenderedBackend:
    """A cluster of which the profile is all that is known."""

    pace = 0.0
    at_once = 1

    def __init__(self, name: str, profile: Profile) -> None:
        self._name = name
        self._profile = profile

    @property
    def kind(self) -> Kind:
        return self._profile.kind

    def probe(self) -> Cluster:
        return Cluster.of_profile(self._name, self._profile)

    def hosts(self) -> Sequence[str]:
        return ()

    def run_dir(self, run: str) -> str:
        return f"/runs/{run}"

    def ready(self) -> None:
        self._refuse()

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        self._refuse()

    def observe(self, submissions: Sequence[Submission]) -> Mapping[str, Observation]:
        if submissions:
            self._refuse()
        return {}

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._refuse()

    def generations(self, submission: Submission, after: int) -> Sequence[Generation]:
        self._refuse()

    def metrics(self, submission: Submission, after: Mark | None) -> Metrics | None:
        self._refuse()

    def read(self, *calls: Call, seconds: float = SECONDS) -> list[Any]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ClusterError(
            f"the cluster {self._name} is of kind {self.kind}, which cannot be submitted to by this version",
            hint=f"orch render job.yaml -c {self._name} -o DIR, then {_BY_HAND}",
        )
