"""One look at a namespace for all attempts: a list of each kind in use, one of pods, and why what waits does wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.clusters.kubernetes import events, nodes
from orchestrator.clusters.kubernetes.api import Api, Listed, Refused
from orchestrator.clusters.kubernetes.kinds import JobStatus, Lifecycle, kind_of, status_of
from orchestrator.clusters.kubernetes.manifests import ASKED, ATTEMPT, MANAGED, RUN_ID
from orchestrator.clusters.kubernetes.objects import labels_of
from orchestrator.clusters.kubernetes.pods import TAINTED, Pod, newest_of, pods_of
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import Unreachable
from orchestrator.model.run import Submission

MANY = 200  # runs, above which a selector names them no more
_VERSIONS = ("v1beta2", "v1beta1")  # of Kueue

Key = tuple[str, int]


def key_of(submission: Submission) -> Key:
    """The id of a run and the number of its attempt."""
    return submission.run_id, submission.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """What Kueue says: its workloads by their owners' uid and their places, or `words` about why it says nothing.

    `workloads` is None where it was not asked.
    """

    workloads: Mapping[str, Mapping[str, Any]] | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    words: str = ""

    def words_of(self, job: Mapping[str, Any]) -> str:
        if self.words or self.workloads is None:
            return self.words
        return events.kueue_of(self.workloads.get(str(job["metadata"].get("uid"))), self.positions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that was listed, warnings by the name of what they are about.

    `asked`: attempts without an object whose files say that orch has ended them. `version` is the pods' resource
    version, from which a watch goes on.
    """

    jobs: Mapping[Key, Mapping[str, Any]]
    asked: frozenset[Key]
    pods: Mapping[Key, Sequence[Pod]]
    warnings: Mapping[str, Sequence[Mapping[str, Any]]]
    queues: Queues
    version: str

    def pods_of(self, submission: Submission) -> Sequence[Pod]:
        return self.pods.get(key_of(submission), ())

    def status_of(self, submission: Submission) -> JobStatus | None:
        """What the operator says; None where there is no object."""
        return _word(submission, self.jobs)

    def trouble_of(self, submission: Submission) -> events.Trouble | None:
        """Why an attempt lacks pods, or some of its pods have not started."""
        pods = newest_of(self.pods_of(submission))
        if _started(pods.values()) >= submission.nodes:
            return None
        return events.trouble_of(self.warnings.get(submission.name, ()), missing=len(pods) < submission.nodes)

    def kueue_of(self, submission: Submission) -> str:
        word, job = self.status_of(submission), self.jobs.get(key_of(submission))
        if job is None or word is None or word.lifecycle is not Lifecycle.WAITING:
            return ""
        return self.queues.words_of(job)


def look(api: Api, submissions: Sequence[Submission], profile: KubernetesProfile) -> Snapshot:
    """Raises Unreachable, also where the cluster no longer lets its objects be listed; Refused for its pods."""
    queue = profile.queue
    selector = (("labelSelector", _selector(submissions)),)
    jobs = _jobs(api, submissions, selector)
    listed = api.list(api.core("pods"), selector)
    pods: dict[Key, list[Pod]] = {}
    for pod in _hopeful(api, pods_of(listed.items, listed.at), profile):
        pods.setdefault((pod.run_id, pod.attempt), []).append(pod)
    silent = any(
        key_of(one) in jobs and _started(newest_of(pods.get(key_of(one), ())).values()) < one.nodes
        for one in submissions
    )
    waiting = any((word := _word(one, jobs)) is not None and word.lifecycle is Lifecycle.WAITING for one in submissions)
    return Snapshot(
        jobs=jobs,
        asked=_asked(api, [one for one in submissions if key_of(one) not in jobs]),
        pods=pods,
        warnings=events.by_name(_warnings(api)) if silent else {},
        queues=_queues(api, queue) if waiting and queue is not None else Queues(),
        version=listed.version,
    )


def _hopeful(api: Api, pods: list[Pod], profile: KubernetesProfile) -> list[Pod]:
    """The pods, of which those wait that only nodes have no place for which are away just now: one more list."""
    if not any(TAINTED in pod.stuck for pod in pods):
        return pods
    try:
        listed = api.list("/api/v1/nodes").items
    except Refused:
        return pods  # told by `orch clusters check`
    if not any(nodes.may_return(node, profile) for node in listed):
        return pods
    return [replace(pod, stuck="") if TAINTED in pod.stuck else pod for pod in pods]


def _started(pods: Iterable[Pod]) -> int:
    return sum(pod.logged for pod in pods)


def pods_of_attempt(api: Api, run_id: str, attempt: int) -> list[Pod]:
    """The pods of one attempt, oldest first."""
    listed: Listed = api.list(api.core("pods"), (("labelSelector", f"{RUN_ID}={run_id},{ATTEMPT}={attempt}"),))
    return pods_of(listed.items, listed.at)


def _selector(submissions: Sequence[Submission]) -> str:
    managed = "=".join(MANAGED)
    if len(submissions) > MANY:
        return managed
    runs = ",".join(sorted({submission.run_id for submission in submissions}))
    return f"{managed},{RUN_ID} in ({runs})"


def _word(submission: Submission, jobs: Mapping[Key, Mapping[str, Any]]) -> JobStatus | None:
    kind, job = kind_of(submission.handle), jobs.get(key_of(submission))
    return status_of(kind, job) if kind is not None and job is not None else None


def _jobs(
    api: Api, submissions: Sequence[Submission], selector: tuple[tuple[str, str], ...]
) -> dict[Key, dict[str, Any]]:
    """The job objects by run and attempt: one list for each kind that is in use."""
    kinds = {kind.word: kind for one in submissions if (kind := kind_of(one.handle)) is not None}
    found: dict[Key, dict[str, Any]] = {}
    for kind in kinds.values():
        try:
            listed = api.list(kind.path(api.namespace), selector)
        except Refused as refused:
            raise Unreachable(f"{kind.plural} of {api.namespace} cannot be listed: {refused.message}") from refused
        found.update((key, document) for document in listed.items if (key := _key(document)) is not None)
    return found


def _key(document: Mapping[str, Any]) -> Key | None:
    """The attempt that an object is of, by its labels."""
    labels = labels_of(document)
    attempt = str(labels.get(ATTEMPT, ""))
    return (str(labels.get(RUN_ID)), int(attempt)) if attempt.isdigit() else None


def _asked(api: Api, missing: Sequence[Submission]) -> frozenset[Key]:
    """Those of the attempts without an object that orch has ended: one list, however many wait to be handed over."""
    if not missing:
        return frozenset()
    selector = (("labelSelector", f"{ASKED},{_selector(missing)}"),)
    try:
        listed = api.list(api.core("configmaps"), selector, metadata_only=True)
    except Refused:
        return frozenset()
    keys = {key for document in listed.items if (key := _key(document)) is not None}
    return frozenset(keys & {key_of(one) for one in missing})


def _warnings(api: Api) -> Sequence[Mapping[str, Any]]:
    """Events: where an attempt has an object and no pod of it has run, only they say why."""
    try:
        return api.list(api.core("events"), (("fieldSelector", "type=Warning"),)).items
    except Refused:
        return ()  # told by `orch clusters check`


def _queues(api: Api, queue: str) -> Queues:
    for version in _VERSIONS:
        try:
            workloads = api.list(f"/apis/kueue.x-k8s.io/{version}/namespaces/{api.namespace}/workloads").items
        except Refused as refused:
            if refused.is_missing:
                continue
            return Queues(words=f"Kueue's workloads cannot be listed: {refused.message}")
        return Queues(workloads=events.by_owner(workloads), positions=_positions(api, queue))
    return Queues(words="it is suspended, and this cluster serves no workloads of Kueue's")


def _positions(api: Api, queue: str) -> Mapping[str, int]:
    """Places in the local queue by the workload's name, where Kueue serves them."""
    for version in _VERSIONS:
        place = f"/apis/visibility.kueue.x-k8s.io/{version}/namespaces/{api.namespace}/localqueues/{queue}"
        try:
            found = api.get(f"{place}/pendingworkloads")
        except (Refused, Unreachable):
            continue
        return {
            item["metadata"]["name"]: int(item["positionInLocalQueue"])
            for item in found.get("items") or ()
            if "positionInLocalQueue" in item
        }
    return {}
