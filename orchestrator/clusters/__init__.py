"""Kinds of clusters: one table, a folder each, strangers to one another; and the Protocol of their backends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestrator.clusters.kind import Kind, load
from orchestrator.config.profiles import ProfileTypes
from orchestrator.errors import ClusterError
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.run import Observation, Question, Submission

if TYPE_CHECKING:  # slow to import, and no built-in kind needs it
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Backend(Protocol):
    """What a kind of place can do. Methods may raise ClusterError (it refused) or Unreachable (no answer)."""

    @property
    def kind(self) -> str: ...

    @property
    def pace(self) -> float:
        """Seconds that should pass between two observes while nothing is urgent."""

    @property
    def at_once(self) -> int:
        """How many threads may call `submit` at the same moment, of different runs, and gain by it."""

    def ready(self) -> None:
        """Raise ClusterError unless jobs can be submitted here at all."""

    def probe(self) -> Cluster:
        """Facts of the place; reads, never writes."""

    def hosts(self) -> Sequence[str]:
        """The nodes that a job may get now, as `Submission.exclude` names them; none where nothing can be left out."""

    def run_dir(self, run: str) -> str:
        """The directory that a run of that name has on the cluster."""

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        """Submit an attempt; its handle. The same attempt again adopts what exists."""

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        """The answer to each question, by name of the run. An attempt without a handle is PENDING."""

    def cancel(self, submission: Submission, *, now: bool) -> None:
        """Ask an attempt to save and end, or (`now`) end it. Later submits of the same attempt start nothing."""

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        """The answers to operations on runs' files, performed where these are: to read, or to remove a run."""


# Kinds of clusters, by name. Those of other packages are entry points of the group `orchestrator.clusters`.
KINDS: Mapping[str, str] = {
    "local": "orchestrator.clusters.hosts:LOCAL",
    "ssh": "orchestrator.clusters.hosts:SSH",
    "slurm": "orchestrator.clusters.slurm:KIND",
    "kubernetes": "orchestrator.clusters.kubernetes:KIND",
}
GROUP = "orchestrator.clusters"


def find_kind(name: str) -> Kind | None:
    """The kind of that name; None when there is none. Raises ClusterError for an installed one that cannot be used."""
    if name in KINDS:
        return _loaded(name, KINDS[name])
    return _installed(name)


def kind_of(name: str) -> Kind:
    """The kind of that name, of a cluster that is known or was. Raises ClusterError when there is none."""
    kind = find_kind(name)
    if kind is None:
        raise ClusterError(f"there is no kind of cluster {name}", hint="install the package that it came with")
    return kind


def kind_names() -> Iterator[str]:
    """The names of all kinds, the built-in ones first."""
    yield from KINDS
    yield from sorted({point.name for point in _entry_points()} - KINDS.keys())


@cache
def _loaded(name: str, reference: str) -> Kind:
    kind = load(reference)
    assert isinstance(kind, Kind)
    assert kind.name == name
    return kind


@cache  # installed packages are looked through only for a kind that is not built in
def _entry_points() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


@cache
def _installed(name: str) -> Kind | None:
    found = {point.value: point for point in _entry_points() if point.name == name}
    if not found:
        return None
    if len(found) > 1:
        found_in = ", ".join(sorted(f"{point.value}{_of_package(point)}" for point in found.values()))
        raise ClusterError(
            f"several packages bring a kind of cluster {name}: {found_in}", hint="uninstall all of them but one"
        )
    [point] = found.values()
    bad = f"the kind of cluster {name} of {point.value}{_of_package(point)} cannot be used"
    try:
        kind = point.load()
    except Exception as error:  # another's module may raise anything while it is imported
        raise ClusterError(f"{bad}: {type(error).__name__}: {error}", hint="fix or uninstall that package") from error
    if not isinstance(kind, Kind) or kind.name != name:
        what = f"the Kind {kind.name}" if isinstance(kind, Kind) else f"of type {type(kind).__name__}"
        raise ClusterError(f"{bad}: wanted the Kind {name}, found an object {what}", hint="fix that package")
    return kind


def _of_package(point: EntryPoint) -> str:
    return f" ({point.dist.name} {point.dist.version})" if point.dist is not None else ""


def _usable() -> Iterator[str]:
    """The names of kinds whose packages can be imported."""
    for name in kind_names():
        with suppress(ClusterError):
            kind_of(name)
            yield name


def _profile_type(name: str) -> type[Profile] | None:
    kind = find_kind(name)
    return kind.profile if kind is not None else None


BUILT_IN = ProfileTypes(built_in=tuple(KINDS), find=_profile_type, names=lambda: KINDS)  # for the pages of docs/
PROFILES = replace(BUILT_IN, names=_usable)


def open_backend(name: str, profile: Profile, home: Path | str) -> Backend:
    """The backend of the cluster `name`; `home` is $ORCH_HOME."""
    return kind_of(profile.kind).open(name, profile, Path(home))
