"""API objects that only the check of a cluster reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.clusters.kubernetes.answers import Condition, Presence, Quantity, path


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Of the API server."""

    git_version: str | None = path("gitVersion", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSubjectReview:
    """The account that asks."""

    username: str | None = path("status.userInfo.username", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessReview:
    """Whether the account has a right."""

    allowed: bool = path("status.allowed", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVersion:
    version: str = path("version")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiGroup:
    versions: tuple[GroupVersion, ...] = path("versions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    labels: Mapping[str, str] = path("metadata.labels", {})
    phase: str = path("status.phase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    name: str = path("metadata.name")
    labels: Mapping[str, str] = path("metadata.labels", {})
    deleted: str | None = path("metadata.deletionTimestamp", None)
    storage_class: str = path("spec.storageClassName")
    requested_modes: tuple[str, ...] = path("spec.accessModes", ())
    modes: tuple[str, ...] = path("status.accessModes", ())
    phase: str = path("status.phase", "Pending")
    capacity: Quantity = path("status.capacity.storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    name: str = path("metadata.name")
    annotations: Mapping[str, str] = path("metadata.annotations", {})
    provisioner: str = path("provisioner")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceQuota:
    name: str = path("metadata.name")
    wanted: Mapping[str, Quantity] = path("spec.hard", {})
    hard: Mapping[str, Quantity] = path("status.hard", {})
    used: Mapping[str, Quantity] = path("status.used", {})
    scopes: tuple[str, ...] = path("spec.scopes", ())
    scope_selector: Presence | None = path("spec.scopeSelector", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of a LimitRange, and what containers get that ask for nothing."""

    type: str = path("type")
    default: Mapping[str, Quantity] = path("default", {})
    default_request: Mapping[str, Quantity] = path("defaultRequest", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRange:
    limits: tuple[Limit, ...] = path("spec.limits", ())


# --- Kueue


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalQueue:
    name: str = path("metadata.name")
    cluster_queue: str = path("spec.clusterQueue")
    stop_policy: str = path("spec.stopPolicy", "None")
    admitted: int = path("status.admittedWorkloads", 0)
    pending: int = path("status.pendingWorkloads", 0)
    conditions: tuple[Condition, ...] = path("status.conditions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequirement:
    key: str = path("key")
    operator: str = path("operator")
    values: tuple[str, ...] = path("values", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    labels: Mapping[str, str] = path("matchLabels", {})
    expressions: tuple[LabelRequirement, ...] = path("matchExpressions", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorQuota:
    """Of one resource."""

    name: str = path("name")
    nominal: Quantity = path("nominalQuota", "0")
    borrowing_limit: Quantity | None = path("borrowingLimit", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    name: str = path("name")
    resources: tuple[FlavorQuota, ...] = path("resources", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    covered: tuple[str, ...] = path("coveredResources", ())
    flavors: tuple[Flavor, ...] = path("flavors", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    name: str = path("name")
    total: Quantity = path("total", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorUsage:
    name: str = path("name")
    resources: tuple[ResourceUsage, ...] = path("resources", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterQueue:
    """Without `namespaces` it admits no namespace; `cohort` is what v1beta1 calls `cohort_name`."""

    namespaces: LabelSelector | None = path("spec.namespaceSelector", None)
    groups: tuple[ResourceGroup, ...] = path("spec.resourceGroups", ())
    cohort: str = path("spec.cohort")
    cohort_name: str = path("spec.cohortName")
    stop_policy: str = path("spec.stopPolicy", "None")
    reserved: tuple[FlavorUsage, ...] = path("status.flavorsReservation", ())
    conditions: tuple[Condition, ...] = path("status.conditions", ())
