"""A snapshot of a namespace for all attempts: job objects, pods, and why those that wait do wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.clusters.kubernetes import events, nodes
from orchestrator.clusters.kubernetes.answers import (
    Event,
    JobObject,
    Listed,
    Node,
    ObjectMeta,
    PendingWorkloads,
    PodObject,
    Workload,
)
from orchestrator.clusters.kubernetes.api import Api, Query, Refused
from orchestrator.clusters.kubernetes.kinds import JobStatus, Lifecycle, resource_of, status_of
from orchestrator.clusters.kubernetes.manifests import ASKED, ATTEMPT, MANAGED, RUN_ID
from orchestrator.clusters.kubernetes.pods import TAINTED, Pod, newest_of, pods_of
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import Unreachable
from orchestrator.job.protocol.errors import RecordError
from orchestrator.model.run import Submission

MANY = 200  # runs; a selector for more of them does not name them
_VERSIONS = ("v1beta2", "v1beta1")  # of Kueue

Key = tuple[str, int]


def key_of(submission: Submission) -> Key:
    """The id of a run and the number of its attempt."""
    return submission.run_id, submission.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Kueue's workloads by their owners' uid and their places in the queue, or `error`: why they are not known.

    `workloads` is None where Kueue was not asked.
    """

    workloads: Mapping[str, Workload] | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that was listed, warnings by the name of the object that they are about.

    `asked`: attempts without an object that orch has ended, by their files. `version` is the pods' resource version,
    at which a watch starts.
    """

    jobs: Mapping[Key, JobObject]
    asked: frozenset[Key]
    pods: Mapping[Key, Sequence[Pod]]
    warnings: Mapping[str, Sequence[Event]]
    queues: Queues
    version: str
    unreadable: Mapping[Key, RecordError]

    def check(self, submission: Submission) -> None:
        """Raise the RecordError of an attempt whose job object or pod has a value of an impossible type."""
        if error := self.unreadable.get(key_of(submission)):
            raise error

    def pods_of(self, submission: Submission) -> Sequence[Pod]:
        return self.pods.get(key_of(submission), ())

    def status_of(self, submission: Submission) -> JobStatus | None:
        """The job object's status; None where there is no object."""
        return _status(submission, self.jobs)

    def trouble_of(self, submission: Submission) -> events.Trouble | None:
        """Why an attempt lacks pods, or some of its pods have not started."""
        pods = newest_of(self.pods_of(submission))
        if _started(pods.values()) >= submission.nodes:
            return None
        return events.trouble_of(self.warnings.get(submission.name, ()), missing=len(pods) < submission.nodes)

    def kueue_of(self, submission: Submission) -> str:
        """Why Kueue does not admit an attempt; empty where it is not suspended, or has no queue."""
        if not _is_suspended(submission, self.jobs):
            return ""
        if self.queues.workloads is None:
            return self.queues.error
        workload = self.queues.workloads.get(self.jobs[key_of(submission)].uid)
        return events.kueue_of(workload, self.queues.positions)


def take(api: Api, submissions: Sequence[Submission], profile: KubernetesProfile) -> Snapshot:
    """List everything. Raises Unreachable, also where job objects may not be listed; Refused where pods may not."""
    selector = (("labelSelector", _selector(submissions)),)
    jobs, unreadable = _jobs(api, submissions, selector)
    listed = api.list(PodObject, api.core("pods"), selector)
    pods: dict[Key, list[Pod]] = {}
    for pod in _without_passing_taints(api, pods_of(listed.items, listed.at), profile):
        pods.setdefault((pod.run_id, pod.attempt), []).append(pod)
    incomplete = any(
        key_of(one) in jobs and _started(newest_of(pods.get(key_of(one), ())).values()) < one.nodes
        for one in submissions
    )
    suspended = any(_is_suspended(one, jobs) for one in submissions)
    return Snapshot(
        jobs=jobs,
        asked=_asked(api, [one for one in submissions if key_of(one) not in jobs]),
        pods=pods,
        warnings=events.by_name(_warnings(api)) if incomplete else {},
        queues=_queues(api, profile.queue) if suspended and profile.queue is not None else Queues(),
        version=listed.version,
        unreadable=unreadable | _unreadable(listed),
    )


def _unreadable(listed: Listed[Any]) -> dict[Key, RecordError]:
    return {key: error for labels, error in listed.unreadable if (key := _key(labels)) is not None}


def _without_passing_taints(api: Api, pods: list[Pod], profile: KubernetesProfile) -> list[Pod]:
    """The pods; those that only tainted nodes keep waiting are not stuck while such a node may return."""
    if not any(TAINTED in pod.stuck for pod in pods):
        return pods
    try:
        listed = api.list(Node, "/api/v1/nodes").items
    except Refused:
        return pods  # reported by `orch clusters check`
    if not any(nodes.may_return(node, profile) for node in listed):
        return pods
    return [replace(pod, stuck="") if TAINTED in pod.stuck else pod for pod in pods]


def _started(pods: Iterable[Pod]) -> int:
    return sum(pod.logged for pod in pods)


def pods_of_attempt(api: Api, run_id: str, attempt: int) -> list[Pod]:
    """The pods of one attempt, oldest first."""
    listed = api.list(PodObject, api.core("pods"), (("labelSelector", f"{RUN_ID}={run_id},{ATTEMPT}={attempt}"),))
    return pods_of(listed.items, listed.at)


def _selector(submissions: Sequence[Submission]) -> str:
    managed = "=".join(MANAGED)
    if len(submissions) > MANY:
        return managed
    runs = ",".join(sorted({submission.run_id for submission in submissions}))
    return f"{managed},{RUN_ID} in ({runs})"


def _status(submission: Submission, jobs: Mapping[Key, JobObject]) -> JobStatus | None:
    resource, job = resource_of(submission.handle), jobs.get(key_of(submission))
    return status_of(resource, job) if resource is not None and job is not None else None


def _is_suspended(submission: Submission, jobs: Mapping[Key, JobObject]) -> bool:
    status = _status(submission, jobs)
    return status is not None and status.lifecycle is Lifecycle.WAITING


def _jobs(
    api: Api, submissions: Sequence[Submission], selector: Query
) -> tuple[dict[Key, JobObject], dict[Key, RecordError]]:
    """The job objects by run and attempt, and those that cannot be read: one list for each kind that is in use."""
    resources = {one.kind: one for one in (resource_of(one.handle) for one in submissions) if one is not None}
    found: dict[Key, JobObject] = {}
    unreadable: dict[Key, RecordError] = {}
    for resource in resources.values():
        try:
            listed = api.list(JobObject, resource.path(api.namespace), selector)
        except Refused as refused:
            raise Unreachable(f"{resource.plural} of {api.namespace} cannot be listed: {refused.message}") from refused
        found.update((key, job) for job in listed.items if (key := _key(job.labels)) is not None)
        unreadable |= _unreadable(listed)
    return found, unreadable


def _key(labels: Mapping[str, str]) -> Key | None:
    """The attempt that an object is of, by its labels."""
    attempt = labels.get(ATTEMPT, "")
    return (labels.get(RUN_ID, ""), int(attempt)) if attempt.isdigit() else None


def _asked(api: Api, missing: Sequence[Submission]) -> frozenset[Key]:
    """Which attempts without an object orch has ended: one list, however many wait to be dispatched."""
    if not missing:
        return frozenset()
    selector = (("labelSelector", f"{ASKED},{_selector(missing)}"),)
    try:
        listed = api.list(ObjectMeta, api.core("configmaps"), selector, metadata_only=True)
    except Refused:
        return frozenset()
    keys = {_key(files.labels) for files in listed.items}
    return frozenset(key for one in missing if (key := key_of(one)) in keys)


def _warnings(api: Api) -> Sequence[Event]:
    """Events of type Warning: the only reason that an object without running pods has."""
    try:
        return api.list(Event, api.core("events"), (("fieldSelector", "type=Warning"),)).items
    except Refused:
        return ()  # reported by `orch clusters check`


def _queues(api: Api, queue: str) -> Queues:
    for version in _VERSIONS:
        try:
            listed = api.list(Workload, f"/apis/kueue.x-k8s.io/{version}/namespaces/{api.namespace}/workloads")
        except Refused as refused:
            if refused.is_missing:
                continue
            return Queues(error=f"Kueue's workloads cannot be listed: {refused.message}")
        return Queues(workloads=events.by_owner(listed.items), positions=_positions(api, queue))
    return Queues(error="it is suspended, and this cluster serves no workloads of Kueue's")


def _positions(api: Api, queue: str) -> Mapping[str, int]:
    """Places in the local queue by the workload's name, where Kueue serves them."""
    for version in _VERSIONS:
        place = f"/apis/visibility.kueue.x-k8s.io/{version}/namespaces/{api.namespace}/localqueues/{queue}"
        try:
            found = api.get(PendingWorkloads, f"{place}/pendingworkloads")
        except (Refused, Unreachable):
            continue
        return {one.name: one.place for one in found.items if one.place is not None}
    return {}
