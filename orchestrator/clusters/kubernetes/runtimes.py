"""The runtime that TrainJobs refer to: where it is, and what it lacks compared with orch's own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.clusters.kubernetes.answers import FailureRule, ReplicatedJob, TrainingRuntime
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.clusters.kubernetes.render import PERMANENT, STOPPED, TERMINATION_LOG

_PLURALS = {"ClusterTrainingRuntime": "clustertrainingruntimes", "TrainingRuntime": "trainingruntimes"}
_NODE = "node"  # the replicated job and the container that rendered TrainJobs patch
_ROLE = ("trainer.kubeflow.org/trainjob-ancestor-step", "trainer")
_ENOUGH_PODS = 100  # failed pods, which the Job counts and orch does not


def kind_of(runtime: str) -> str:
    """ClusterTrainingRuntime or TrainingRuntime, by a profile's `runtime`."""
    return runtime.rpartition("/")[0] or "ClusterTrainingRuntime"


def name_of(runtime: str) -> str:
    return runtime.rpartition("/")[2]


def plural_of(runtime: str) -> str:
    return _PLURALS[kind_of(runtime)]


def path_of(runtime: str, namespace: str) -> str:
    """Of the object that a profile's `runtime` names."""
    of = JOB_RESOURCES["trainjob"]
    place = f"namespaces/{namespace}/" if kind_of(runtime) == "TrainingRuntime" else ""
    return f"/apis/{of.group}/{of.version}/{place}{plural_of(runtime)}/{name_of(runtime)}"


def misfits(runtime: TrainingRuntime, profile: KubernetesProfile) -> tuple[str, ...]:
    """What of a runtime is not as a job of this profile needs it, in sentences; none for orch's own."""
    job = next((one for one in runtime.jobs if one.name == _NODE), None)
    if job is None:
        return (f"it has no replicated job {_NODE}",)
    return (*_of_runtime(runtime, profile), *_of_job(job), *_of_pod(job, profile))


def _of_runtime(runtime: TrainingRuntime, profile: KubernetesProfile) -> Iterator[str]:
    if runtime.mpi is not None:
        yield "it starts ranks by MPI (mlPolicy)"
    if others := [one.name for one in runtime.jobs if one.name != _NODE]:
        yield f"it has other replicated jobs, which orch does not know: {', '.join(others)}"
    if runtime.max_restarts:
        yield f"failurePolicy starts all pods again {runtime.max_restarts} times, though another start may not help"
    if False in (runtime.dns_hostnames, runtime.publishes_not_ready):
        yield "its network does not make the pods' names known before they are ready"
    if profile.gang and profile.gang not in runtime.gangs:
        yield f"podGroupPolicy is not {profile.gang}, as the profile's gang wants it"


def _of_job(job: ReplicatedJob) -> Iterator[str]:
    if job.labels.get(_ROLE[0]) != _ROLE[1]:
        yield f"its job {_NODE} has no label {_ROLE[0]}: {_ROLE[1]}, by which a TrainJob's values find it"
    if not any(_is_of_codes(rule, "FailJob", PERMANENT) for rule in job.failure_rules):
        yield "podFailurePolicy does not end the job where another start cannot help"
    if not any(_is_of_disruption(rule) for rule in job.failure_rules):
        yield "podFailurePolicy counts an eviction as a failure"
    if not any(_is_of_codes(rule, "Ignore", STOPPED) for rule in job.failure_rules):
        yield "podFailurePolicy counts a pod that was asked to stop as a failure"
    limit = job.backoff_limit
    if limit is None or limit < _ENOUGH_PODS:
        value = "is not set, and then is 6" if limit is None else f"is {limit}"
        yield f"backoffLimit {value}: a long run ends with its last failed pod, whatever orch thinks of it"


def _is_of_codes(rule: FailureRule, action: str, codes: Sequence[int]) -> bool:
    alike = rule.action == action and rule.operator == "In"
    return alike and rule.container in (None, _NODE) and set(codes) <= set(rule.codes)


def _is_of_disruption(rule: FailureRule) -> bool:
    return rule.action == "Ignore" and any(one.type == "DisruptionTarget" for one in rule.conditions)


def _of_pod(job: ReplicatedJob, profile: KubernetesProfile) -> Iterator[str]:
    own = next((one for one in job.containers if one.name == _NODE), None)
    if own is None:
        yield f"it has no container {_NODE}"
    elif own.termination_message_path not in (None, TERMINATION_LOG):
        yield f"terminationMessagePath is not {TERMINATION_LOG}, where an agent writes its last record"
    if others := [one.name for one in job.containers if one.name != _NODE]:
        yield f"it has other containers, and a pod does not end before they do: {', '.join(others)}"
    if job.restart_policy != "Never":
        yield "restartPolicy is not Never: a container that starts again hides how it ended"
    if job.automount_token is not False:
        yield "its pods get a service account's token (automountServiceAccountToken)"
    if profile.priority_class and job.priority_class != profile.priority_class:
        yield f"priorityClassName is not {profile.priority_class}, as the profile's priority_class wants it"
    if profile.rdma and profile.rdma.host_network and not job.host_network:
        yield "hostNetwork is not set, as the profile's rdma wants it"
