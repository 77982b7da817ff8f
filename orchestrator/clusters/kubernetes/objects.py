"""What is done to a cluster for one attempt: its objects are made under its name, and taken away again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.kinds import Kind, handle_of
from orchestrator.clusters.kubernetes.manifests import ASKED, DIGEST, RUN, RUN_ID, Manifests, manifests_of, tombstone
from orchestrator.clusters.kubernetes.pods import Pod
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission
from orchestrator.system import failpoints

CANCELLED = "cancelled"  # the handle of an attempt that was cancelled before it was handed over
_BACKGROUND = {"propagationPolicy": "Background"}


def submit(api: Api, submission: Submission, bundle: Bundle, *, cluster: str) -> str:
    """Make the objects of an attempt, or adopt those that are there; the attempt's handle.

    Raises ClusterError when the cluster says no or the name is somebody else's; Unreachable, also where another
    attempt has to wait for room in a quota.
    """
    made = manifests_of(bundle, submission)
    if _lay_down(api, submission, made.config_map):
        return CANCELLED
    failpoints.failpoint("kubernetes.files")
    try:
        _create_claim(api, made.claim)
        for document in made.others:
            api.apply(_path_of(document, api.namespace), document)
        api.apply(made.kind.path(api.namespace, submission.name), made.job)
    except Refused as refused:
        if not _is_there(api, submission, made):
            if submission.attempt > 1 and "exceeded quota" in refused.message:
                _sweep(api, submission, made)  # it may be what takes the room
                raise Unreachable(
                    f"the quota of {api.namespace} has no room for attempt {submission.attempt} yet: {refused.message}"
                ) from refused
            _forget(api, submission, made)
            raise ClusterError(
                f"Kubernetes refused attempt {submission.attempt} of {submission.run}: {refused.message}",
                hint=_hint(refused, cluster),
            ) from refused
    failpoints.failpoint("kubernetes.job")
    _sweep(api, submission, made)
    return handle_of(made.kind, submission.name)


def _lay_down(api: Api, submission: Submission, config_map: Mapping[str, Any]) -> bool:
    """The attempt's files under its name, which are the claim to it too; whether it was cancelled already."""
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
    found = api.get(api.core("configmaps", submission.name), metadata_only=True)
    labels = labels_of(found)
    _check_owner(api, submission, labels, "configmap")
    if ASKED in labels:
        return True
    _check_files(api, submission, found, config_map)
    return False


def _check_files(api: Api, submission: Submission, found: Mapping[str, Any], config_map: Mapping[str, Any]) -> None:
    """What a job would read under this name is what it was submitted with; files that say nothing of it are old."""
    there, wanted = ((one["metadata"].get("annotations") or {}).get(DIGEST) for one in (found, config_map))
    if there is not None and there != wanted:
        raise ClusterError(
            f"the name {submission.name} is taken in {api.namespace} by files of the same run that are not these: it "
            f"was submitted from elsewhere, with other code; kubectl delete configmap {submission.name} when it is of "
            "no use any more, or submit the job under another name"
        )


def _create_claim(api: Api, claim: Mapping[str, Any] | None) -> None:
    if claim is None:
        return
    try:
        api.create(_path_of(claim, api.namespace, named=False), claim)
    except Refused as refused:
        if not refused.is_conflict:
            raise


def _is_there(api: Api, submission: Submission, made: Manifests) -> bool:
    """Whether the job object was made before: somebody has changed it since, as Kueue does, or the rules changed."""
    try:
        found = api.get(made.kind.path(api.namespace, submission.name), metadata_only=True)
    except Refused:
        return False
    _check_owner(api, submission, labels_of(found), made.kind.plural)
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
    """The attempt before is over and its logs are kept: what is left of it would only be in the way."""
    if submission.attempt <= 1:
        return
    older = dataclasses.replace(submission, attempt=submission.attempt - 1)
    try:
        api.delete(made.kind.path(api.namespace, older.name), _BACKGROUND)
        _delete_files(api, older, made)
    except (Refused, Unreachable):
        return  # it only costs room


def _hint(refused: Refused, cluster: str) -> str:
    if "runtimePatches" in refused.message:
        return f"orch's TrainJobs need Kubeflow Trainer 2.3 or newer; set job_kind: jobset in the profile {cluster}"
    return f"mend the profile {cluster} or the job; orch clusters check {cluster} shows what is there"


def _forget(api: Api, submission: Submission, made: Manifests) -> None:
    """No job came of these files, nor of what was made for it."""
    try:
        _delete_files(api, submission, made)
    except ClusterError:
        return


def _delete_files(api: Api, submission: Submission, made: Manifests) -> None:
    """What an attempt has beside its job. `made` says which kinds of objects that are, whichever attempt it is of."""
    for document in made.others:
        api.delete(f"{_path_of(document, api.namespace, named=False)}/{submission.name}")
    api.delete(api.core("configmaps", submission.name))


def leave_word(api: Api, submission: Submission) -> None:
    """On the attempt's files, or in their place: from now on nothing is started under its name."""
    try:
        api.merge(api.core("configmaps", submission.name), {"metadata": {"labels": {ASKED: "yes"}}})
    except Refused as refused:
        if not refused.is_missing:
            raise
        api.create(api.core("configmaps"), tombstone(submission))


def delete_job(api: Api, submission: Submission, kind: Kind) -> None:
    """Ask for the end of an attempt's job object, whose pods are then asked to save and end."""
    path = kind.path(api.namespace, submission.name)
    try:
        found = api.get(path, metadata_only=True)
    except Refused as refused:
        if refused.is_missing:
            return
        raise
    if labels_of(found).get(RUN_ID) == submission.run_id:
        api.delete(path, _BACKGROUND)


def end_pods(api: Api, pods: Iterable[Pod], *, force: bool) -> None:
    """End pods without a chance to save; those of a dead node only where `force` says so, as nobody confirms it."""
    for pod in pods:
        api.delete(api.core("pods", pod.name), {"gracePeriodSeconds": 0 if pod.lost and force else 1})


def labels_of(document: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = (document.get("metadata") or {}).get("labels") or {}
    return found


def _path_of(document: Mapping[str, Any], namespace: str, *, named: bool = True) -> str:
    """Of an object that a bundle holds beside its job."""
    kind, version = str(document["kind"]), str(document["apiVersion"])
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    path = f"{base}/namespaces/{namespace}/{kind.lower()}s"
    return f"{path}/{document['metadata']['name']}" if named else path
