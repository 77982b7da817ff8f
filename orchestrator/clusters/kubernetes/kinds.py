"""The three kinds of job objects: where they are served, and what their conditions mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from orchestrator.clusters.kubernetes.answers import Condition, JobObject
from orchestrator.clusters.kubernetes.profile import JobKind


class Lifecycle(Enum):
    """An operator's view of its object. WAITING: it is suspended, and has no pods or is losing them."""

    WAITING = "waiting"
    LIVE = "live"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResource:
    """The API resource of a kind of job objects. `complete`: the type of the condition of an object that succeeded."""

    kind: JobKind
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
    """What an object's status says. `raw` is the operator's condition, `because` its message or reason."""

    lifecycle: Lifecycle
    raw: str = ""
    because: str = ""


# The order in which `auto` tries them.
_TABLE: tuple[tuple[JobKind, str, str, str], ...] = (
    ("trainjob", "trainer.kubeflow.org", "v1alpha1", "Complete"),
    ("jobset", "jobset.x-k8s.io", "v1alpha2", "Completed"),
    ("pytorchjob", "kubeflow.org", "v1", "Succeeded"),
)
JOB_RESOURCES: Mapping[JobKind, JobResource] = {
    kind: JobResource(kind=kind, group=group, version=version, plural=f"{kind}s", complete=complete)
    for kind, group, version, complete in _TABLE
}


def choose_kind(
    wanted: Literal["auto"] | JobKind, *, serves: Callable[[JobResource], bool], suits_trainjob: Callable[[], bool]
) -> JobKind | None:
    """The kind of a profile's jobs; None where `auto` finds none. `suits_trainjob`: its runtime is there, and fits."""
    if wanted != "auto":
        return wanted
    for kind, resource in JOB_RESOURCES.items():
        if serves(resource) and (kind != "trainjob" or suits_trainjob()):
            return kind
    return None


def status_of(resource: JobResource, job: JobObject) -> JobStatus:
    """The status of a job object; one without conditions is LIVE. Failed wins over complete, that over Suspended."""
    by_type = {one.type: one for one in job.conditions if one.status == "True"}
    for name, lifecycle in (
        ("Failed", Lifecycle.FAILED),
        (resource.complete, Lifecycle.SUCCEEDED),
        ("Suspended", Lifecycle.WAITING),
    ):
        if name in by_type:
            return _status(lifecycle, by_type[name])
    newest = sorted(by_type.values(), key=lambda one: one.changed)[-1:]  # the last of equals
    return _status(Lifecycle.LIVE, newest[0]) if newest else JobStatus(lifecycle=Lifecycle.LIVE)


def _status(lifecycle: Lifecycle, condition: Condition) -> JobStatus:
    return JobStatus(lifecycle=lifecycle, raw=condition.type, because=condition.message or condition.reason)


def handle_of(resource: JobResource, name: str) -> str:
    """A submission's handle once its object exists."""
    return f"{resource.kind}/{name}"


def resource_of(handle: str | None) -> JobResource | None:
    """The resource that a handle names; None for an attempt that has no handle or was cancelled before it had one."""
    kind = (handle or "").partition("/")[0]
    return next((one for one in JOB_RESOURCES.values() if one.kind == kind), None)
