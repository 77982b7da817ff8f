"""Backends: how each kind of place is asked to run something. One Protocol, a row a kind; strangers to one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.clusters.transport import SECONDS, Call
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Kind, Profile
from orchestrator.model.run import Observation, Question, Submission


class Backend(Protocol):
    """What a kind of place can do. Any method may raise ClusterError (it said no) or Unreachable (it said nothing)."""

    @property
    def kind(self) -> Kind: ...

    @property
    def pace(self) -> float:
        """Seconds that should pass between two observes while nothing is urgent."""

    @property
    def at_once(self) -> int:
        """How many threads may call `submit` at the same moment, of different runs, and gain by it."""

    def ready(self) -> None:
        """Raise ClusterError unless jobs can be handed over here at all."""

    def probe(self) -> Cluster:
        """Facts of the place; reads, never writes."""

    def hosts(self) -> Sequence[str]:
        """The nodes that a job may get now, as `Submission.exclude` names them; none where nothing can be left out."""

    def run_dir(self, run: str) -> str:
        """The directory that a run of that name has on the cluster."""

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        """Hand an attempt over and answer its handle. The same attempt again adopts what is there."""

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        """The answer to each question, by name of the run. An attempt without a handle is PENDING."""

    def cancel(self, submission: Submission, *, now: bool) -> None:
        """Ask an attempt to save and end, or (`now`) end it. Later submits of the same attempt start nothing."""

    def read(self, *calls: Call, seconds: float = SECONDS) -> list[Any]:
        """The values of operations of `orchestrator.job.remote` that only read, performed where the runs' files are."""


Loader = Callable[[str, Profile, Path | str], Backend]


def _local(name: str, profile: Profile, home: Path | str) -> Backend:
    from orchestrator.clusters.local import LocalBackend

    return LocalBackend(name, profile, home)


def _ssh(name: str, profile: Profile, _: Path | str) -> Backend:
    from orchestrator.clusters.ssh import SshBackend

    return SshBackend(name, profile)


def _slurm(name: str, profile: Profile, _: Path | str) -> Backend:
    from orchestrator.clusters.slurm import SlurmBackend

    return SlurmBackend(name, profile)


def _kubernetes(name: str, profile: Profile, home: Path | str) -> Backend:
    from orchestrator.clusters.kubernetes import KubernetesBackend

    return KubernetesBackend(name, profile, home)


BACKENDS: Mapping[Kind, Loader] = {
    "local": _local,
    "ssh": _ssh,
    "slurm": _slurm,
    "kubernetes": _kubernetes,
}


def open_backend(name: str, profile: Profile, home: Path | str) -> Backend:
    """The backend of the cluster `name`; `home` is $ORCH_HOME."""
    return BACKENDS[profile.kind](name, profile, home)
