"""Creates, adopts and deletes the objects of one attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from orchestrator.clusters.kubernetes.answers import Manifest, ObjectMeta, read
from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.kinds import JobResource, handle_of
from orchestrator.clusters.kubernetes.manifests import ASKED, DIGEST, RUN, RUN_ID, Manifests, manifests_of, tombstone
from orchestrator.clusters.kubernetes.pods import Pod
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.system import failpoints
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission

CANCELLED = "cancelled"  # the handle of an attempt that was cancelled before it was dispatched
_BACKGROUND = {"propagationPolicy": "Background"}


def submit(api: Api, submission: Submission, bundle: Bundle, *, cluster: str) -> str:
    """Create the objects of an attempt, or adopt existing ones; the attempt's handle.

    Raises ClusterError when the cluster refuses or another owner has the name; Unreachable, also where a later attempt
    has to wait for room in a quota.
    """
    made = manifests_of(bundle, submission)
    if _create_files(api, submission, made.config_map):
        return CANCELLED
    failpoints.failpoint("kubernetes.files")
    try:
        _create_claim(api, made.claim)
        for document in made.others:
            api.apply(_path_of(document, api.namespace), document)
        api.apply(made.resource.path(api.namespace, submission.name), made.job)
    except Refused as refused:
        if not _exists(api, submission, made):
            if submission.attempt > 1 and "exceeded quota" in refused.message:
                _sweep(api, submission, made)  # the attempt before may use up the quota
                raise Unreachable(
                    f"the quota of {api.namespace} has no room for attempt {submission.attempt} yet: {refused.message}"
                ) from refused
            _delete_unused(api, submission, made)
            raise ClusterError(
                f"Kubernetes refused attempt {submission.attempt} of {submission.run}: {refused.message}",
                hint=_hint(refused, cluster),
            ) from refused
    failpoints.failpoint("kubernetes.job")
    _sweep(api, submission, made)
    return handle_of(made.resource, submission.name)


def _create_files(api: Api, submission: Submission, config_map: Manifest) -> bool:
    """Create the attempt's files, which also claim its name; whether the attempt was cancelled already."""
    try:
        api.create(api.core("configmaps"), config_map)
    except Refused as refused:
        if not refused.is_conflict:
            raise ClusterError(
                f"Kubernetes refused the files of {submission.name}: {refused.message}",
                hint=f"orch clusters check {submission.cluster} shows what may be done there",
            ) from refused
    else:
        return False
    found = api.get(ObjectMeta, api.core("configmaps", submission.name), metadata_only=True)
    _check_owner(api, submission, found.labels, "configmap")
    if ASKED in found.labels:
        return True
    _check_files(api, submission, found, config_map)
    return False


def _check_files(api: Api, submission: Submission, found: ObjectMeta, config_map: Manifest) -> None:
    """Check that the files under this name are those of the submission; older versions wrote no digest."""
    there = found.annotations.get(DIGEST)
    if there is not None and there != read(ObjectMeta, config_map).annotations.get(DIGEST):
        raise ClusterError(
            f"the name {submission.name} is taken in {api.namespace} by files of the same run that are not these: it "
            f"was submitted from elsewhere, with other code; kubectl delete configmap {submission.name} when it is of "
            "no use any more, or submit the job under another name"
        )


def _create_claim(api: Api, claim: Manifest | None) -> None:
    if claim is None:
        return
    try:
        api.create(_path_of(claim, api.namespace, named=False), claim)
    except Refused as refused:
        if not refused.is_conflict:
            raise


def _exists(api: Api, submission: Submission, made: Manifests) -> bool:
    """Whether the job object was created before: Kueue or others have changed it since, or the cluster's rules have."""
    try:
        found = api.get(ObjectMeta, made.resource.path(api.namespace, submission.name), metadata_only=True)
    except Refused:
        return False
    _check_owner(api, submission, found.labels, made.resource.plural)
    return True


def _check_owner(api: Api, submission: Submission, labels: Mapping[str, str], what: str) -> None:
    if labels.get(RUN_ID) == submission.run_id:
        return
    other = f"another run of that name, with the id {labels.get(RUN_ID)} ({labels.get(RUN)})"
    owner = other if RUN_ID in labels else "something that is not orch's"
    raise ClusterError(
        f"the name {submission.name} is taken in {api.namespace} by {owner}",
        hint=f"kubectl delete {what} {submission.name} when it is of no use any more, or --name NAME",
    )


def _sweep(api: Api, submission: Submission, made: Manifests) -> None:
    """Delete what is left of the attempt before, which has ended and whose logs are stored."""
    if submission.attempt <= 1:
        return
    older = dataclasses.replace(submission, attempt=submission.attempt - 1)
    try:
        api.delete(made.resource.path(api.namespace, older.name), _BACKGROUND)
        _delete_files(api, older, made)
    except (Refused, Unreachable):
        return  # best effort


def _hint(refused: Refused, cluster: str) -> str:
    if "runtimePatches" in refused.message:
        return f"orch's TrainJobs need Kubeflow Trainer 2.3 or newer; set job_kind: jobset in the profile {cluster}"
    return f"fix the profile {cluster} or the job; orch clusters check {cluster} shows what is there"


def _delete_unused(api: Api, submission: Submission, made: Manifests) -> None:
    """Delete the files and other objects of a job that was not created. Best effort."""
    try:
        _delete_files(api, submission, made)
    except ClusterError:
        return


def _delete_files(api: Api, submission: Submission, made: Manifests) -> None:
    """Delete an attempt's objects beside its job. `made` gives their kinds, and may be of another attempt."""
    for document in made.others:
        api.delete(f"{_path_of(document, api.namespace, named=False)}/{submission.name}")
    api.delete(api.core("configmaps", submission.name))


def mark_cancelled(api: Api, submission: Submission) -> None:
    """Label the attempt's files, or create a tombstone in their place: nothing is started under its name any more."""
    try:
        api.merge(api.core("configmaps", submission.name), {"metadata": {"labels": {ASKED: "yes"}}})
    except Refused as refused:
        if not refused.is_missing:
            raise
        api.create(api.core("configmaps"), tombstone(submission))


def delete_job(api: Api, submission: Submission, resource: JobResource) -> None:
    """Delete an attempt's job object, whose pods then get the signal to save and end."""
    path = resource.path(api.namespace, submission.name)
    try:
        found = api.get(ObjectMeta, path, metadata_only=True)
    except Refused as refused:
        if refused.is_missing:
            return
        raise
    if found.labels.get(RUN_ID) == submission.run_id:
        api.delete(path, _BACKGROUND)


def delete_all(api: Api, run_id: str, paths: Iterable[str], *, of_same_name: Iterable[str]) -> None:
    """Delete the objects of a run, of all its attempts, at some paths; and those that are named as they are."""
    mine = (("labelSelector", f"{RUN_ID}={run_id}"),)
    for path in paths:
        for found in api.list(ObjectMeta, path, mine, metadata_only=True).items:
            for other in of_same_name:
                api.delete(f"{other}/{found.name}")
            api.delete(f"{path}/{found.name}", _BACKGROUND)


def end_pods(api: Api, pods: Iterable[Pod], *, force: bool) -> None:
    """Delete pods without time to save; on a dead node, where no kubelet confirms it, only with `force`."""
    for pod in pods:
        api.delete(api.core("pods", pod.name), {"gracePeriodSeconds": 0 if pod.lost and force else 1})


def _path_of(document: Manifest, namespace: str, *, named: bool = True) -> str:
    """The API path of an object that a bundle holds beside its job."""
    kind, version = str(document["kind"]), str(document["apiVersion"])
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    path = f"{base}/namespaces/{namespace}/{kind.lower()}s"
    return f"{path}/{document['metadata']['name']}" if named else path
