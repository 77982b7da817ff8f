"""What is looked up at an API server, and the answers: an object, a list or a refusal for each lookup. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from orchestrator.clusters.kubernetes import runtimes
from orchestrator.clusters.kubernetes.answers import ApiResources, Listed, Node, ObjectMeta, Quantity, TrainingRuntime
from orchestrator.clusters.kubernetes.check import objects
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, JobResource, choose_kind
from orchestrator.clusters.kubernetes.profile import GANGS, JobKind, KubernetesProfile
from orchestrator.clusters.kubernetes.render import lost

KUEUE_GROUP, VISIBILITY_GROUP = "kueue.x-k8s.io", "visibility.kueue.x-k8s.io"
_QUEUE_VERSIONS = ("v1beta2", "v1beta1")  # the first that is served
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)")
_POWERS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Generic[T]):
    """`kind` is the type of the answer; `many`: the answer is a list of such objects, to its last page."""

    name: str
    kind: type[T]
    many: bool = False


VERSION = Lookup(name="version", kind=objects.Version)
USER = Lookup(name="user", kind=objects.SelfSubjectReview)
RESOURCES = {kind: Lookup(name=kind, kind=ApiResources) for kind in JOB_RESOURCES}
NAMESPACE = Lookup(name="namespace", kind=objects.Namespace)
QUOTAS = Lookup(name="quotas", kind=objects.ResourceQuota, many=True)
LIMITS = Lookup(name="limits", kind=objects.LimitRange, many=True)
NODES = Lookup(name="nodes", kind=Node, many=True)
RUNTIME = Lookup(name="runtime", kind=TrainingRuntime)
KUEUE = Lookup(name="kueue", kind=objects.ApiGroup)
VISIBILITY = Lookup(name="visibility", kind=objects.ApiGroup)
CLAIM = Lookup(name="claim", kind=objects.Claim)
CLAIMS = Lookup(name="claims", kind=objects.Claim, many=True)
CLASSES = Lookup(name="classes", kind=objects.StorageClass, many=True)
PRIORITY_CLASS = Lookup(name="priority class", kind=ObjectMeta)
SERVICE_ACCOUNT = Lookup(name="service account", kind=ObjectMeta)
GANG = Lookup(name="gang", kind=ApiResources)
QUEUE = Lookup(name="queue", kind=objects.LocalQueue)
QUEUES = Lookup(name="queues", kind=objects.LocalQueue, many=True)
CLUSTER_QUEUE = Lookup(name="cluster queue", kind=objects.ClusterQueue)
WORKLOAD_PRIORITY = Lookup(name="workload priority", kind=ObjectMeta)

Lookups = dict[Lookup[Any], str]  # with the path of each


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """A lookup without an answer: the HTTP status, 0 where nothing came back, and the server's message."""

    status: int
    message: str


_NOT_ASKED = No(status=0, message="it was not asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """A verb that orch uses on a resource. `needed`: without it jobs are not started, seen or ended.

    `resource` may have a subresource (pods/log); `name`: only of this object; `everywhere`: in no namespace; `lost`:
    what does not work without the right.
    """

    verb: str
    resource: str
    group: str = ""
    name: str = ""
    everywhere: bool = False
    needed: bool = False
    lost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """`clock`: how many seconds the server's clock is ahead of this machine's, None where it is not known."""

    host: str
    namespace: str
    found: Mapping[Lookup[Any], object]
    rights: Mapping[Right, objects.AccessReview | No] = field(default_factory=dict)
    clock: float | None = None

    def one(self, lookup: Lookup[T]) -> T | None:
        """The object; None where there is none or the account may not read it."""
        answer = self.found.get(lookup)
        return answer if isinstance(answer, lookup.kind) else None

    def many(self, lookup: Lookup[T]) -> tuple[T, ...] | None:
        """The objects of a list; None where the account may not list them."""
        answer = self.found.get(lookup)
        return answer.items if isinstance(answer, Listed) else None

    def lacks(self, lookup: Lookup[Any]) -> bool:
        """Whether the server answered that there is no such object."""
        answer = self.found.get(lookup)
        return isinstance(answer, No) and answer.status == 404

    def why(self, lookup: Lookup[Any]) -> str:
        """Why there is no answer, by the server's message."""
        answer = self.found.get(lookup, _NOT_ASKED)
        return answer.message if isinstance(answer, No) else _NOT_ASKED.message

    def serves(self, resource: JobResource) -> bool:
        return (self.one(RESOURCES[resource.kind]) or ApiResources()).has(resource.plural)

    @property
    def served(self) -> tuple[JobResource, ...]:
        return tuple(one for one in JOB_RESOURCES.values() if self.serves(one))

    def kind(self, profile: KubernetesProfile) -> JobKind | None:
        """The kind of a profile's job objects, as a submission chooses it."""

        def suits() -> bool:
            return not lost(profile, "trainjob") and self.misfits(profile) == ()

        return choose_kind(profile.job_kind, serves=self.serves, suits_trainjob=suits)

    def misfits(self, profile: KubernetesProfile) -> tuple[str, ...] | None:
        """What the runtime of TrainJobs lacks; None where there is none or the account may not read it."""
        runtime = self.one(RUNTIME)
        return None if runtime is None else runtimes.misfits(runtime, profile)

    def may(self, verb: str, resource: str) -> bool:
        """Whether a right is known to be granted."""
        return any(
            isinstance(review, objects.AccessReview) and review.allowed
            for right, review in self.rights.items()
            if (right.verb, right.resource) == (verb, resource)
        )


def first(profile: KubernetesProfile, namespace: str) -> Lookups:
    """The lookups that depend on no answer."""
    core = f"/api/v1/namespaces/{namespace}"
    asked: Lookups = {
        **{RESOURCES[one.kind]: f"/apis/{one.group}/{one.version}" for one in JOB_RESOURCES.values()},
        NAMESPACE: core,
        QUOTAS: f"{core}/resourcequotas",
        LIMITS: f"{core}/limitranges",
        NODES: "/api/v1/nodes",
        RUNTIME: runtimes.path_of(profile.runtime, namespace),
        KUEUE: f"/apis/{KUEUE_GROUP}",
        VISIBILITY: f"/apis/{VISIBILITY_GROUP}",
    }
    if profile.claim:
        asked[CLAIM] = f"{core}/persistentvolumeclaims/{profile.claim}"
    else:
        asked[CLASSES] = "/apis/storage.k8s.io/v1/storageclasses"
    if profile.priority_class:
        asked[PRIORITY_CLASS] = f"/apis/scheduling.k8s.io/v1/priorityclasses/{profile.priority_class}"
    if profile.service_account:
        asked[SERVICE_ACCOUNT] = f"{core}/serviceaccounts/{profile.service_account}"
    if profile.gang:
        asked[GANG] = "/apis/{}/{}".format(*GANGS[profile.gang])
    return asked


def of_queues(profile: KubernetesProfile, answers: Answers) -> Lookups:
    """The lookups to Kueue; none where it is not served."""
    version = queue_version(answers)
    if version is None:
        return {}
    base = f"/apis/{KUEUE_GROUP}/{version}"
    queues = f"{base}/namespaces/{answers.namespace}/localqueues"
    asked: Lookups = {QUEUES: queues}
    if profile.queue:
        asked[QUEUE] = f"{queues}/{profile.queue}"
    if profile.workload_priority:
        asked[WORKLOAD_PRIORITY] = f"{base}/workloadpriorityclasses/{profile.workload_priority}"
    return asked


def of_cluster_queue(answers: Answers) -> Lookups:
    version, queue = queue_version(answers), answers.one(QUEUE)
    if version is None or queue is None or not queue.cluster_queue:
        return {}
    return {CLUSTER_QUEUE: f"/apis/{KUEUE_GROUP}/{version}/clusterqueues/{queue.cluster_queue}"}


def queue_version(answers: Answers) -> str | None:
    """The version of Kueue's API; None where it is not served."""
    served = {one.version for one in (answers.one(KUEUE) or objects.ApiGroup()).versions}
    return next((version for version in _QUEUE_VERSIONS if version in served), None)


def amount(quantity: Quantity | str) -> float:
    """A quantity of Kubernetes (8, 500m, 200Gi, 1e3) as a number; 0 for what is none."""
    match = _QUANTITY.fullmatch(quantity)
    return float(match.group(1)) * _POWERS.get(match.group(2), 0.0) if match else 0.0
