"""The configuration of a Kubernetes cluster: names as its API server takes them, adapters, tolerations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from orchestrator.model.cluster import Profile
from orchestrator.model.key import ABSOLUTE, WORD, Pattern, key, option

Document: TypeAlias = Mapping[str, Any]  # an object of Kubernetes, or a part of one, as YAML has it
JobKind = Literal["trainjob", "jobset", "pytorchjob"]
Gang = Literal["volcano", "coscheduling"]
GANGS: Mapping[Gang, tuple[str, str]] = {  # group and version of their PodGroups
    "volcano": ("scheduling.volcano.sh", "v1beta1"),
    "coscheduling": ("scheduling.x-k8s.io", "v1alpha1"),
}
JOB_KINDS: tuple[JobKind, ...] = ("trainjob", "jobset", "pytorchjob")
OWN_RUNTIME = "orch-torch"  # of manifests/runtime.yaml

_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = rf"(?![-a-z0-9.]{{254}}){_PART}(\.{_PART})*"
_NAME = "[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_OWN = r"(?!orch/|app\.kubernetes\.io/managed-by$)"

LABEL = Pattern(regex="[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", words="a Kubernetes name of at most 63 characters")
SUBDOMAIN = Pattern(regex=_DOMAIN, words="a Kubernetes name")
QUEUE = Pattern(regex=rf"(?![-a-z0-9.]{{64}}){_PART}(\.{_PART})*", words=LABEL.words)
QUANTITY = Pattern(regex="[1-9][0-9]*([kMGTPE]i?|Ki)?", words="a Kubernetes quantity like 200Gi")
RUNTIME = Pattern(
    regex=f"(ClusterTrainingRuntime/|TrainingRuntime/)?{_DOMAIN}",
    words="the name of a ClusterTrainingRuntime, or TrainingRuntime/NAME of the job's namespace",
)
RESOURCE = Pattern(regex=f"{_DOMAIN}/{_NAME}", words="a resource of a Kubernetes node, as in nvidia.com/gpu")
NODE_LABEL = Pattern(regex=f"({_DOMAIN}/)?{_NAME}", words="the name of a Kubernetes label")
JOB_LABEL = Pattern(
    regex=f"{_OWN}({_DOMAIN}/)?{_NAME}", words="the name of a Kubernetes label or annotation that is not orch's own"
)
LABEL_VALUE = Pattern(regex=f"({_NAME})?", words="the value of a Kubernetes label (at most 63 letters, digits, - _ .)")
SET_BY_QUEUE: Mapping[str, str] = {
    "kueue.x-k8s.io/queue-name": "queue",
    "kueue.x-k8s.io/priority-class": "workload_priority",
}

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Exists", "Equal")
_TEXTS: Mapping[str, Pattern] = {"key": NODE_LABEL, "value": LABEL_VALUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rdma:
    """RDMA adapters of a pod. Its namespace must enforce no PodSecurity level below `privileged`."""

    resource: str = field(metadata=key("The adapters' resource, as in rdma/hca_shared_devices_a.", pattern=RESOURCE))
    count: int = option(1, "How many of it a pod asks for.", minimum=1)
    host_network: bool = option(True, "Run in the node's network; false where the pod's own has the adapters.")


POD_OF_JOB = ("template", "spec", "template", "spec")  # where a replicated job has the spec of its pods


def at(value: Any, *names: str) -> Any:
    """What a document has at a path of names; None where it has nothing there."""
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def toleration_problems(tolerations: tuple[Document, ...]) -> Iterator[tuple[int, str]]:
    """The place of each that no API server takes, and why not."""
    for place, toleration in enumerate(tolerations):
        yield from ((place, problem) for problem in _problems(toleration))


def _problems(toleration: Document) -> Iterator[str]:
    known = (*_TEXTS, "operator", "effect", "tolerationSeconds")
    for name in toleration:
        if name not in known:
            yield f"a toleration has no {name!r}; it has {', '.join(known)}"
    for name, pattern in _TEXTS.items():
        text = toleration.get(name, "")
        if not isinstance(text, str) or (text and not re.fullmatch(pattern.regex, text)):
            yield f"{name} is {text!r}: wanted {pattern.words}"
    for name, choices in (("operator", _OPERATORS), ("effect", _EFFECTS)):
        if toleration.get(name, choices[0]) not in choices:
            yield f"{name} is {toleration[name]!r}: wanted one of {', '.join(choices)}"
    yield from _contradictions(toleration)


def _contradictions(toleration: Document) -> Iterator[str]:
    seconds, exists = toleration.get("tolerationSeconds"), toleration.get("operator") == "Exists"
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or abs(seconds) >= 2**63):
        yield f"tolerationSeconds is {seconds!r}: wanted a whole number"
    if seconds is not None and toleration.get("effect") != "NoExecute":
        yield "tolerationSeconds is for effect NoExecute alone"
    if exists and toleration.get("value"):
        yield "operator Exists takes no value"
    if not exists and not toleration.get("key"):
        yield "without a key, operator must be Exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesProfile(Profile):
    """A Kubernetes cluster."""

    at_most_one: ClassVar[tuple[tuple[str, ...], ...]] = (("claim", "storage_class"),)

    context: str | None = option(None, "Context of the kubeconfig; default: its current one.")
    kubeconfig: str | None = option(
        None, "A kubeconfig, in place of $KUBECONFIG, ~/.kube/config or a pod's own credentials.", pattern=ABSOLUTE
    )
    namespace: str | None = option(None, "Kubernetes namespace.", pattern=LABEL)
    job_kind: Literal["auto", "trainjob", "jobset", "pytorchjob"] = option(
        "auto", "What a job is made as; auto: the first of TrainJob, JobSet and PyTorchJob that the cluster serves."
    )
    runtime: str = option(OWN_RUNTIME, "The runtime that a TrainJob refers to.", pattern=RUNTIME)
    image: str | None = option(None, "Container image.", pattern=WORD)
    pull_secrets: tuple[str, ...] = option((), "Secrets to pull the image with.", pattern=SUBDOMAIN)
    claim: str | None = option(None, "Existing ReadWriteMany claim.", pattern=SUBDOMAIN)
    storage_class: str | None = option(None, "Storage class of a new claim.", pattern=SUBDOMAIN)
    storage: str = option("200Gi", "Size of a new claim.", pattern=QUANTITY)
    queue: str | None = option(None, "Kueue LocalQueue; the job waits, suspended, for quota.", pattern=QUEUE)
    workload_priority: str | None = option(None, "Kueue WorkloadPriorityClass: its place in the queue.", pattern=QUEUE)
    priority_class: str | None = option(None, "PriorityClass of the pods.", pattern=SUBDOMAIN)
    gang: Gang | None = option(None, "Scheduler that starts all pods of a job or none, by a PodGroup.")
    gang_queue: str | None = option(
        None, "Volcano's Queue that the PodGroup is in; absent: its default one.", pattern=SUBDOMAIN
    )
    node_selector: Mapping[str, str] = option(
        dict, "Labels that a node must have.", names=NODE_LABEL, values=LABEL_VALUE
    )
    tolerations: tuple[Document, ...] = option(
        (), "Taints that do not matter, each as in {key: gpu, operator: Exists, effect: NoSchedule}."
    )
    gpu_resource: str = option(
        "nvidia.com/gpu",
        "The resource that a GPU is: nvidia.com/gpu, amd.com/gpu, nvidia.com/mig-1g.10gb.",
        pattern=RESOURCE,
    )
    rdma: Rdma | None = option(None, "RDMA adapters; absent: none are asked for.")
    service_account: str | None = option(
        None, "ServiceAccount of the pods, which get no token of it.", pattern=SUBDOMAIN
    )
    labels: Mapping[str, str] = option(
        dict, "Labels of the job and its pods.", names=JOB_LABEL, values=LABEL_VALUE, instead=SET_BY_QUEUE
    )
    annotations: Mapping[str, str] = option(dict, "Annotations of the job and its pods.", names=JOB_LABEL)
    overlay: Document = option(
        dict, "Laid over the rendered job by strategic merge; `orch render --diff` shows what it changes."
    )
    stuck_after: int = option(
        600, "Seconds after which an attempt ends that cannot start: no such image, refused, no node fits.", minimum=1
    )
    force_delete: bool = option(False, "Delete pods of a dead node by force, though they may go on writing.")

    def problems(self) -> Iterator[tuple[str, str]]:
        for place, problem in toleration_problems(self.tolerations):
            yield "tolerations", f"the toleration {place + 1} is none: {problem}"
        if self.gang_queue is not None and self.gang != "volcano":
            yield (
                "gang_queue",
                "only Volcano has queues for gangs; set gang: volcano too, or take queue for one of Kueue's",
            )
