"""The three kinds of job objects: where they are served, and what their conditions mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from orchestrator.clusters.kubernetes.profile import JobKind


class Lifecycle(Enum):
    """What an operator thinks of its object. WAITING: it is suspended, and has no pods or shall have none."""

    WAITING = "waiting"
    LIVE = "live"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`complete`: the condition of an object that has succeeded. `Failed` is believed before it, `Suspended` after."""

    word: JobKind
    group: str
    version: str
    plural: str
    complete: str

    def path(self, namespace: str, name: str = "") -> str:
        """Of all objects in a namespace, or of one."""
        base = f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}"
        return f"{base}/{name}" if name else base


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What an object's status says: the operator's own word kept, with its reason and message."""

    lifecycle: Lifecycle
    raw: str
    because: str


# The order in which `auto` takes them.
KINDS: Mapping[JobKind, Kind] = {
    kind.word: kind
    for kind in (
        Kind(
            word="trainjob",
            group="trainer.kubeflow.org",
            version="v1alpha1",
            plural="trainjobs",
            complete="Complete",
        ),
        Kind(
            word="jobset",
            group="jobset.x-k8s.io",
            version="v1alpha2",
            plural="jobsets",
            complete="Completed",
        ),
        Kind(
            word="pytorchjob",
            group="kubeflow.org",
            version="v1",
            plural="pytorchjobs",
            complete="Succeeded",
        ),
    )
}


def taken(
    wanted: Literal["auto"] | JobKind, *, serves: Callable[[Kind], bool], suits_trainjob: Callable[[], bool]
) -> JobKind | None:
    """What jobs are made as; None where `auto` finds none. `suits_trainjob`: its runtime is there, and fits."""
    if wanted != "auto":
        return wanted
    for word, kind in KINDS.items():
        if serves(kind) and (word != "trainjob" or suits_trainjob()):
            return word
    return None


def is_among(kind: Kind, resources: Mapping[str, Any]) -> bool:
    """Whether a version of its group, as the API server lists its resources, serves it."""
    return any(one.get("name") == kind.plural for one in resources.get("resources") or ())


def status_of(kind: Kind, document: Mapping[str, Any]) -> JobStatus:
    """What an operator says of its object; nothing yet is LIVE, with an empty word."""
    found: Sequence[Mapping[str, Any]] = (document.get("status") or {}).get("conditions") or ()
    true = {str(one.get("type")): one for one in found if str(one.get("status")) == "True"}
    believed = (("Failed", Lifecycle.FAILED), (kind.complete, Lifecycle.SUCCEEDED), ("Suspended", Lifecycle.WAITING))
    for name, standing in believed:
        if name in true:
            return _word(standing, name, true[name])
    newest = sorted(true.values(), key=lambda one: str(one.get("lastTransitionTime", "")))[-1:]  # of equals the last
    if not newest:
        return JobStatus(lifecycle=Lifecycle.LIVE, raw="", because="")
    return _word(Lifecycle.LIVE, str(newest[0]["type"]), newest[0])


def _word(standing: Lifecycle, name: str, condition: Mapping[str, Any]) -> JobStatus:
    return JobStatus(
        lifecycle=standing, raw=name, because=str(condition.get("message") or condition.get("reason") or "")
    )


def handle_of(kind: Kind, name: str) -> str:
    """What a submission is known by once its object exists."""
    return f"{kind.word}/{name}"


def kind_of(handle: str | None) -> Kind | None:
    """The kind that a handle names; None for an attempt that has none, or was cancelled before it had one."""
    word = (handle or "").partition("/")[0]
    return next((kind for kind in KINDS.values() if kind.word == word), None)
