"""The runtime that TrainJobs refer to: where it is, and what it lacks of what orch's own one has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.clusters.kubernetes.kinds import KINDS
from orchestrator.clusters.kubernetes.profile import POD_OF_JOB, KubernetesProfile, at
from orchestrator.clusters.kubernetes.render import PERMANENT, STOPPED, WORD

_PLURALS = {"ClusterTrainingRuntime": "clustertrainingruntimes", "TrainingRuntime": "trainingruntimes"}
_NODE = "node"  # what rendered TrainJobs call the replicated job and the container that they change
_ROLE = ("trainer.kubeflow.org/trainjob-ancestor-step", "trainer")
_ENOUGH_PODS = 100  # failed pods, which the Job counts and orch does not


def kind_of(runtime: str) -> str:
    """ClusterTrainingRuntime or TrainingRuntime, as a profile's `runtime` says it."""
    return runtime.rpartition("/")[0] or "ClusterTrainingRuntime"


def name_of(runtime: str) -> str:
    return runtime.rpartition("/")[2]


def plural_of(runtime: str) -> str:
    return _PLURALS[kind_of(runtime)]


def path_of(runtime: str, namespace: str) -> str:
    """Of the object that a profile's `runtime` names."""
    of = KINDS["trainjob"]
    place = f"namespaces/{namespace}/" if kind_of(runtime) == "TrainingRuntime" else ""
    return f"/apis/{of.group}/{of.version}/{place}{plural_of(runtime)}/{name_of(runtime)}"


def misfits(document: Mapping[str, Any], profile: KubernetesProfile) -> tuple[str, ...]:
    """What of a runtime is not as a job of this profile needs it, in sentences; none for orch's own."""
    spec = document.get("spec") or {}
    jobs: Sequence[Mapping[str, Any]] = at(spec, "template", "spec", "replicatedJobs") or ()
    job = next((one for one in jobs if one.get("name") == _NODE), None)
    if job is None:
        return (f"it has no replicated job {_NODE}",)
    pod = at(job, *POD_OF_JOB) or {}
    return (*_of_set(spec, jobs, profile), *_of_job(job), *_of_pod(pod, profile))


def _of_set(spec: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], profile: KubernetesProfile) -> Iterator[str]:
    if "mpi" in (spec.get("mlPolicy") or {}):
        yield "it starts ranks by MPI (mlPolicy)"
    if others := [str(one.get("name")) for one in jobs if one.get("name") != _NODE]:
        yield f"it has other replicated jobs, which orch does not know: {', '.join(others)}"
    restarts = at(spec, "template", "spec", "failurePolicy", "maxRestarts") or 0
    if restarts:
        yield f"failurePolicy starts all pods again {restarts} times, though another start may not help"
    network = at(spec, "template", "spec", "network") or {}
    if False in (network.get("enableDNSHostnames"), network.get("publishNotReadyAddresses")):
        yield "its network does not make the pods' names known before they are ready"
    if profile.gang and profile.gang not in (spec.get("podGroupPolicy") or {}):
        yield f"podGroupPolicy is not {profile.gang}, as the profile's gang wants it"


def _of_job(job: Mapping[str, Any]) -> Iterator[str]:
    labels = at(job, "template", "metadata", "labels") or {}
    if labels.get(_ROLE[0]) != _ROLE[1]:
        yield f"its job {_NODE} has no label {_ROLE[0]}: {_ROLE[1]}, by which a TrainJob's values find it"
    spec = at(job, "template", "spec") or {}
    rules: Sequence[Mapping[str, Any]] = at(spec, "podFailurePolicy", "rules") or ()
    if not any(_is_of_codes(rule, "FailJob", PERMANENT) for rule in rules):
        yield "podFailurePolicy does not end the job where another start cannot help"
    if not any(_is_of_disruption(rule) for rule in rules):
        yield "podFailurePolicy counts an eviction as a failure"
    if not any(_is_of_codes(rule, "Ignore", STOPPED) for rule in rules):
        yield "podFailurePolicy counts a pod that was asked to stop as a failure"
    limit = spec.get("backoffLimit")
    if limit is None or int(limit) < _ENOUGH_PODS:
        said = "is not set, and then is 6" if limit is None else f"is {limit}"
        yield f"backoffLimit {said}: a long run ends with its last failed pod, whatever orch thinks of it"


def _is_of_codes(rule: Mapping[str, Any], action: str, codes: Sequence[int]) -> bool:
    on = rule.get("onExitCodes") or {}
    alike = rule.get("action") == action and on.get("operator") == "In"
    return alike and on.get("containerName", _NODE) == _NODE and set(codes) <= set(on.get("values") or ())


def _is_of_disruption(rule: Mapping[str, Any]) -> bool:
    conditions = rule.get("onPodConditions") or ()
    return rule.get("action") == "Ignore" and any(one.get("type") == "DisruptionTarget" for one in conditions)


def _of_pod(pod: Mapping[str, Any], profile: KubernetesProfile) -> Iterator[str]:
    containers: Sequence[Mapping[str, Any]] = pod.get("containers") or ()
    own = next((one for one in containers if one.get("name") == _NODE), None)
    if own is None:
        yield f"it has no container {_NODE}"
    else:
        yield from _of_container(own)
    if others := [str(one.get("name")) for one in containers if one.get("name") != _NODE]:
        yield f"it has other containers, and a pod does not end before they do: {', '.join(others)}"
    if pod.get("restartPolicy") != "Never":
        yield "restartPolicy is not Never: a container that starts again hides how it ended"
    if pod.get("automountServiceAccountToken") is not False:
        yield "its pods get a service account's token (automountServiceAccountToken)"
    if profile.priority_class and pod.get("priorityClassName") != profile.priority_class:
        yield f"priorityClassName is not {profile.priority_class}, as the profile's priority_class wants it"
    if profile.rdma and profile.rdma.host_network and not pod.get("hostNetwork"):
        yield "hostNetwork is not set, as the profile's rdma wants it"


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    if container.get("terminationMessagePath", WORD) != WORD:
        yield f"terminationMessagePath is not {WORD}, where an agent leaves its last word"
