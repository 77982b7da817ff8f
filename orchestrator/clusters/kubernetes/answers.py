"""What the API server answers, as far as orch reads it: one dataclass for each kind of object. Pure.

Every field is optional, as in the API itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeAlias, TypeVar

from orchestrator.job.protocol.encoding import from_json
from orchestrator.job.protocol.errors import RecordError

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Manifest: TypeAlias = dict[str, Any]  # an object that is written; only its schema on the server knows its fields


class Quantity(str):
    """8, 500m or 200Gi; custom resources have it as a number, too."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        if not isinstance(value, str | int | float):
            raise ValueError(value)  # noqa: TRY004 - as an Enum's
        return super().__new__(cls, value)


def path(where: str, default: Any = "") -> Any:
    """A field's place in the JSON object, as in status.phase; `default` where the object has nothing there, or null."""
    metadata = {"path": tuple(where.split("."))}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read(kind: type[T], document: object) -> T:
    """The object as a dataclass. Raises RecordError with the object's name and the field."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return from_json(kind, document, f"{kind.__name__} {name}" if name else kind.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """The objects of a list, and the server's clock when it gave the last page, in seconds since the epoch.

    `unreadable` are the labels of objects that have a value of an impossible type, each with the error.
    """

    items: tuple[T, ...]
    at: float = 0.0
    version: str = ""
    unreadable: tuple[tuple[Mapping[str, str], RecordError], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """An object that only has to be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    """An object of which only the metadata count."""

    name: str = path("metadata.name")
    labels: Mapping[str, str] = path("metadata.labels", {})
    annotations: Mapping[str, str] = path("metadata.annotations", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list; `more` asks for the next one."""

    items: tuple[object, ...] = path("items", ())
    more: str = path("metadata.continue")
    version: str = path("metadata.resourceVersion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Why the server refused."""

    reason: str = path("reason")
    message: str = path("message")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeContext:
    """An entry of a kubeconfig's contexts, which is JSON, too."""

    name: str | None = path("name", None)
    namespace: str | None = path("context.namespace", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition of an object's status. `status` is True, False or Unknown."""

    type: str = path("type")
    status: str = path("status")
    reason: str = path("reason")
    message: str = path("message")
    changed: str = path("lastTransitionTime")


NO_CONDITION = Condition()


def condition(conditions: Iterable[Condition], name: str) -> Condition:
    """The condition of a type; an empty one where there is none."""
    return next((one for one in conditions if one.type == name), NO_CONDITION)


# --- jobs and pods


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObject:
    """A TrainJob, JobSet or PyTorchJob."""

    uid: str = path("metadata.uid")
    labels: Mapping[str, str] = path("metadata.labels", {})
    conditions: tuple[Condition, ...] = path("status.conditions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    name: str = path("name")
    termination_message_path: str | None = path("terminationMessagePath", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    """How a container ended."""

    exit_code: int | None = path("exitCode", None)
    reason: str = path("reason")
    message: str = path("message")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    name: str = path("name")
    running: Presence | None = path("state.running", None)
    waiting_reason: str = path("state.waiting.reason")
    waiting_message: str = path("state.waiting.message")
    terminated: Terminated | None = path("state.terminated", None)
    terminated_before: Terminated | None = path("lastState.terminated", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodObject:
    name: str = path("metadata.name")
    uid: str = path("metadata.uid")
    labels: Mapping[str, str] = path("metadata.labels", {})
    created: str = path("metadata.creationTimestamp")
    deleted: str | None = path("metadata.deletionTimestamp", None)
    node: str | None = path("spec.nodeName", None)
    containers: tuple[Container, ...] = path("spec.containers", ())
    phase: str = path("status.phase", "Pending")
    reason: str = path("status.reason")
    message: str = path("status.message")
    conditions: tuple[Condition, ...] = path("status.conditions", ())
    init_containers: tuple[ContainerStatus, ...] = path("status.initContainerStatuses", ())
    container_statuses: tuple[ContainerStatus, ...] = path("status.containerStatuses", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    about: str = path("involvedObject.name")
    reason: str = path("reason")
    message: str = path("message")
    first: str = path("firstTimestamp")
    last: str = path("lastTimestamp")
    of_series: str = path("series.lastObservedTime")
    micro: str = path("eventTime")

    @property
    def time(self) -> str:
        """When it was last seen."""
        return self.of_series or self.last or self.micro or self.first


# --- nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    key: str = path("key")
    value: str = path("value")
    effect: str = path("effect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`allocatable`: what of its resources pods can have, by name."""

    name: str = path("metadata.name")
    labels: Mapping[str, str] = path("metadata.labels", {})
    unschedulable: bool = path("spec.unschedulable", default=False)
    taints: tuple[Taint, ...] = path("spec.taints", ())
    allocatable: Mapping[str, Quantity] = path("status.allocatable", {})
    conditions: tuple[Condition, ...] = path("status.conditions", ())


# --- Kueue


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerReference:
    uid: str = path("uid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    name: str = path("metadata.name")
    owners: tuple[OwnerReference, ...] = path("metadata.ownerReferences", ())
    queue: str = path("spec.queueName")
    conditions: tuple[Condition, ...] = path("status.conditions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWorkload:
    """`place` counts from 0."""

    name: str = path("metadata.name")
    place: int | None = path("positionInLocalQueue", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWorkloads:
    items: tuple[PendingWorkload, ...] = path("items", ())


# --- what is served


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResource:
    name: str = path("name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResources:
    """The resources of one version of an API group, with their parts."""

    resources: tuple[ApiResource, ...] = path("resources", ())

    def has(self, plural: str) -> bool:
        return any(one.name == plural for one in self.resources)


# --- the runtime of TrainJobs


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRule:
    """A rule of a Job's podFailurePolicy."""

    action: str = path("action")
    container: str | None = path("onExitCodes.containerName", None)
    operator: str = path("onExitCodes.operator")
    codes: tuple[int, ...] = path("onExitCodes.values", ())
    conditions: tuple[Condition, ...] = path("onPodConditions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicatedJob:
    """A replicated job of a runtime's JobSet, with what counts of its Job and of its pods."""

    name: str = path("name")
    labels: Mapping[str, str] = path("template.metadata.labels", {})
    backoff_limit: int | None = path("template.spec.backoffLimit", None)
    failure_rules: tuple[FailureRule, ...] = path("template.spec.podFailurePolicy.rules", ())
    containers: tuple[Container, ...] = path("template.spec.template.spec.containers", ())
    restart_policy: str = path("template.spec.template.spec.restartPolicy")
    automount_token: bool | None = path("template.spec.template.spec.automountServiceAccountToken", None)
    priority_class: str = path("template.spec.template.spec.priorityClassName")
    host_network: bool = path("template.spec.template.spec.hostNetwork", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRuntime:
    """Of the namespace or of the cluster."""

    mpi: Presence | None = path("spec.mlPolicy.mpi", None)
    gangs: Mapping[str, Presence] = path("spec.podGroupPolicy", {})
    jobs: tuple[ReplicatedJob, ...] = path("spec.template.spec.replicatedJobs", ())
    max_restarts: int = path("spec.template.spec.failurePolicy.maxRestarts", 0)
    dns_hostnames: bool | None = path("spec.template.spec.network.enableDNSHostnames", None)
    publishes_not_ready: bool | None = path("spec.template.spec.network.publishNotReadyAddresses", None)
