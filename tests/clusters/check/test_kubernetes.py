"""What is said of a Kubernetes cluster, from what its API server answered: data/ was recorded on a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.clusters.findings import Finding
from orchestrator.clusters.kubernetes.answers import Listed, read
from orchestrator.clusters.kubernetes.check import answers as lookups
from orchestrator.clusters.kubernetes.check import judge, rights
from orchestrator.clusters.kubernetes.check.answers import (
    CLUSTER_QUEUE,
    QUEUE,
    RUNTIME,
    Answers,
    Lookup,
    No,
    Right,
    amount,
    first,
    of_cluster_queue,
    of_queues,
)
from orchestrator.clusters.kubernetes.check.objects import AccessReview
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES
from orchestrator.clusters.kubernetes.profile import KubernetesProfile, Rdma

ROOT = Path(__file__).parents[3]
OWN_RUNTIME = yaml.safe_load((ROOT / "manifests" / "runtime.yaml").read_text())
PROFILE = KubernetesProfile(
    kind="kubernetes", namespace="train", image="registry.example/train:1", claim="shared", queue="training"
)
BARE = replace(PROFILE, queue=None)
GRANTED, DENIED = AccessReview(allowed=True), AccessReview(allowed=False)
FORBIDDEN = No(status=403, message='nodes is forbidden: User "me" cannot list resource "nodes" at the cluster scope')
GONE = No(status=404, message="the server could not find the requested resource")


def recorded() -> dict[str, Any]:
    """A fresh copy: a cluster with the three kinds, a claim, a runtime, Kueue, and GPUs on its two workers."""
    text = (Path(__file__).parent / "data" / "kubernetes-1.36.3.json").read_text()
    said: dict[str, Any] = {name: No(**one) if "message" in one else one for name, one in json.loads(text).items()}
    for node in said["nodes"]["items"]:
        if node["metadata"]["name"] != "control":
            node["status"]["allocatable"]["nvidia.com/gpu"] = "8"
    return {**said, "runtime": OWN_RUNTIME}


LOOKUPS = {one.name: one for one in (*vars(lookups).values(), *lookups.RESOURCES.values()) if isinstance(one, Lookup)}


def typed(documents: Mapping[str, Any]) -> dict[Lookup[Any], object]:
    """Answers in JSON, by the names of their lookups, as they are read."""
    return {LOOKUPS[name]: as_read(LOOKUPS[name], document) for name, document in documents.items()}


def as_read(lookup: Lookup[Any], document: Any) -> object:
    if isinstance(document, No):
        return document
    if lookup.many:
        return Listed(items=tuple(read(lookup.kind, one) for one in document["items"]))
    return read(lookup.kind, document)


def answers(
    changes: Mapping[str, Any] | None = None,
    *,
    profile: KubernetesProfile = PROFILE,
    denied: tuple[tuple[str, str], ...] = (),
) -> Answers:
    """The recorded answers with others in their place; `denied` are verbs and resources."""
    found = Answers(host="https://k8s.example", namespace="train", found=typed({**recorded(), **(changes or {})}))
    asked = rights.rights(profile, found)
    granted = {right: DENIED if (right.verb, right.resource) in denied else GRANTED for right in asked}
    return replace(found, rights=granted)


def findings(profile: KubernetesProfile, found: Answers) -> dict[str, Finding]:
    judged, _, _ = judge.judge(profile, found)
    return {one.what: one for one in judged}


def changed(name: str, change: Callable[[Any], object]) -> dict[str, Any]:
    """The recorded answer to a question, changed in place."""
    document = recorded()[name]
    change(document)
    return {name: document}


ENFORCED = "pod-security.kubernetes.io/enforce"


def level(name: str | None) -> dict[str, Any]:
    return changed("namespace", lambda one: one["metadata"].update(labels={ENFORCED: name} if name else {}))


# --- the whole


def test_a_good_cluster_has_no_problem() -> None:
    judged, can, cannot = judge.judge(PROFILE, answers())
    assert [(one.what, one.found) for one in judged if one.level != "ok"] == []
    words = {one.what: one.found for one in judged}
    assert words["Kubernetes"] == "v1.36.3 at https://k8s.example"
    assert words["account"] == "admin"
    assert words["job kind"] == "TrainJob (trainer.kubeflow.org/v1alpha1), the first that auto takes"
    assert words["runtime"] == "orch-torch does all that orch's own does"
    assert words["PodSecurity"] == "restricted is enforced, and orch's pods pass it"
    assert words["claim"] == "shared: ReadWriteMany, ReadWriteOnce, bound, 10Gi of class shared"
    assert words["nodes"] == (
        "2 of 3 can be used: node-1, node-2; tainted node-role.kubernetes.io/control-plane: control"
    )
    assert words["GPUs"] == "16 of nvidia.com/gpu for pods: 8 on node-1, node-2"
    assert words["queue"] == "training, of the ClusterQueue gpus: 1 admitted, 2 waiting"
    assert words[QUOTA] == (
        "gpus: 8 of 16 nvidia.com/gpu and 4 more to borrow (a100), 16 of 64 cpu (a100), 100Gi of 1Ti memory (a100)"
    )
    assert words["permission"].startswith("all ")
    assert "What a job waits for in its queue is reported, and its place there." in can
    assert "A node that failed several times in a row is left out of later attempts." in can
    assert len(cannot) == 3


def test_every_finding_that_is_not_fine_says_what_to_do() -> None:
    nothing = dict.fromkeys(recorded(), FORBIDDEN)
    for found in (nothing, dict.fromkeys(recorded(), GONE), {}):
        for profile in (
            PROFILE,
            BARE,
            KubernetesProfile(kind="kubernetes"),
            replace(PROFILE, gang="volcano", rdma=RDMA),
        ):
            every = Answers(host="h", namespace="train", found=typed(found))
            every = replace(every, rights=dict.fromkeys(rights.rights(profile, every), FORBIDDEN))
            judged, can, cannot = judge.judge(profile, every)
            assert all(one.todo for one in judged if one.level != "ok")
            assert any(one.level == "problem" for one in judged)
            assert (can, cannot) == ([], [])


RDMA = Rdma(resource="rdma/hca_shared_devices_a")


# --- kinds and the runtime


def served(*words: str) -> dict[str, Any]:
    return {word: GONE for word in JOB_RESOURCES if word not in words}


@pytest.mark.parametrize(
    ("profile", "changes", "level", "words"),
    [
        ({}, served("jobset", "pytorchjob"), "ok", "JobSet (jobset.x-k8s.io/v1alpha2), the first that auto takes"),
        ({}, served("jobset"), "ok", "TrainJob: not served"),
        ({}, {"runtime": GONE}, "ok", "TrainJob: there is no runtime orch-torch (manifests/runtime.yaml)"),
        ({}, {"runtime": FORBIDDEN}, "ok", "TrainJob: its runtime orch-torch cannot be read: nodes is forbidden"),
        ({"priority_class": "high"}, {}, "ok", "TrainJob: priority_class: a TrainJob cannot set it"),
        ({"runtime": "torch-distributed"}, {}, "ok", "TrainJob: runtime: torch-distributed is not orch's own"),
        (
            {},
            served("pytorchjob"),
            "ok",
            "PyTorchJob (kubeflow.org/v1), the first that auto takes; TrainJob: not served",
        ),
        ({}, served(), "problem", "the cluster serves none of TrainJob, JobSet and PyTorchJob"),
        ({}, {**served("trainjob"), "runtime": GONE}, "problem", "only TrainJob is served, but there is no runtime"),
        (
            {},
            dict.fromkeys(JOB_RESOURCES, FORBIDDEN),
            "problem",
            "whether TrainJob is served is not known: nodes is forbidden",
        ),
        ({"job_kind": "jobset"}, {}, "ok", "as the profile says; TrainJob and PyTorchJob would be served, too"),
        ({"job_kind": "jobset"}, served("pytorchjob"), "problem", "JobSet (jobset.x-k8s.io/v1alpha2) is not served"),
    ],
)
def test_the_kind_of_a_job_is_told_and_why_it_is_that(profile, changes, level: str, words: str) -> None:
    asked = replace(PROFILE, **profile)
    one = findings(asked, answers(changes, profile=asked))["job kind"]
    assert one.level == level
    assert words in one.found


def without(*path: str) -> dict[str, Any]:
    """Orch's runtime without one of its fields."""
    document = json.loads(json.dumps(OWN_RUNTIME))
    at = document
    for name in path[:-1]:
        at = at[int(name) if name.isdigit() else name]
    del at[path[-1]]
    return {"runtime": document}


NODE = ("spec", "template", "spec", "replicatedJobs", "0", "template", "spec")


@pytest.mark.parametrize(
    ("runtime", "level", "words"),
    [
        ({"runtime": GONE}, "problem", "there is no orch-torch"),
        ({"runtime": FORBIDDEN}, "warning", "orch-torch cannot be read"),
        (without(*NODE, "podFailurePolicy"), "warning", "counts an eviction as a failure"),
        (without(*NODE, "backoffLimit"), "warning", "backoffLimit is not set, and then is 6"),
        (without(*NODE, "template", "spec", "restartPolicy"), "warning", "restartPolicy is not Never"),
        (
            without(*NODE, "template", "spec", "automountServiceAccountToken"),
            "warning",
            "get a service account's token",
        ),
        (without(*NODE, "template", "spec", "containers"), "problem", "it has no container node"),
        (without("spec", "template", "spec", "replicatedJobs"), "problem", "it has no replicated job node"),
    ],
)
def test_a_runtime_is_compared_with_what_orch_relies_on(runtime, level: str, words: str) -> None:
    asked = replace(PROFILE, job_kind="trainjob")
    one = findings(asked, answers(runtime, profile=asked))["runtime"]
    assert one.level == level
    assert words in one.found
    auto = findings(PROFILE, answers(runtime))["job kind"]
    assert auto.found.startswith("JobSet"), "auto takes what needs no runtime"


def test_a_runtime_of_the_namespace_is_asked_for_there() -> None:
    asked = first(replace(PROFILE, runtime="TrainingRuntime/mine"), "train")[RUNTIME]
    assert asked == "/apis/trainer.kubeflow.org/v1alpha1/namespaces/train/trainingruntimes/mine"
    cluster = first(replace(PROFILE, runtime="ClusterTrainingRuntime/ours"), "train")[RUNTIME]
    assert cluster == "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes/ours"


# --- PodSecurity and the namespace


@pytest.mark.parametrize(
    ("profile", "changes", "level", "words"),
    [
        ({}, level("restricted"), "ok", "orch's pods pass it"),
        ({"overlay": {"spec": {}}}, level("restricted"), "ok", "what `overlay` adds was not checked"),
        ({"job_kind": "pytorchjob"}, level("restricted"), "warning", "the init container of PyTorchJob's operator"),
        ({"job_kind": "pytorchjob"}, level("baseline"), "ok", "baseline is enforced, and orch's pods pass it"),
        ({}, level(None), "ok", "the namespace enforces no level"),
        ({"rdma": RDMA}, level("baseline"), "problem", "pods with rdma ask for IPC_LOCK and the node's network"),
        ({"rdma": replace(RDMA, host_network=False)}, level("restricted"), "problem", "ask for IPC_LOCK"),
        ({"rdma": RDMA}, level("privileged"), "ok", "privileged is enforced"),
        ({}, {"namespace": FORBIDDEN}, "warning", "the namespace's level is not known"),
    ],
)
def test_the_pod_security_level_is_held_against_what_is_rendered(profile, changes, level: str, words: str) -> None:
    asked = replace(PROFILE, **profile)
    one = findings(asked, answers(changes, profile=asked))["PodSecurity"]
    assert one.level == level
    assert words in one.found


def test_a_namespace_that_is_missing_or_going_is_a_problem() -> None:
    assert findings(PROFILE, answers({"namespace": GONE}))["namespace"].found == "there is no train"
    going = changed("namespace", lambda one: one["status"].update(phase="Terminating"))
    assert findings(PROFILE, answers(going))["namespace"].level == "problem"
    of_context = findings(replace(PROFILE, namespace=None), answers())["namespace"]
    assert of_context.found == "train, that of the kubeconfig's context"


@pytest.mark.parametrize(("version", "level"), [("v1.27.3-gke.100", "ok"), ("v1.26.9+k3s1", "problem")])
def test_a_server_whose_pods_do_not_know_their_job_is_too_old(version: str, level: str) -> None:
    old = changed("version", lambda one: one.update(gitVersion=version))
    assert findings(PROFILE, answers(old))["Kubernetes"].level == level


def test_a_clock_that_is_apart_is_a_note() -> None:
    one = findings(PROFILE, replace(answers(), clock=-61.2))["clock"]
    assert (one.level, one.found.partition(":")[0]) == ("ok", "the server's is 61 s behind this machine's")
    assert "clock" not in findings(PROFILE, replace(answers(), clock=1.4))


# --- storage


def claim(**changes: Any) -> dict[str, Any]:
    return changed("claim", lambda one: [one[part].update(values) for part, values in changes.items()])


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"claim": GONE}, "problem", "there is no shared in train"),
        ({"claim": FORBIDDEN}, "warning", "shared cannot be read"),
        (claim(status={"accessModes": ["ReadWriteOnce"]}), "warning", "shared: ReadWriteOnce, bound"),
        (claim(status={"accessModes": ["ReadOnlyMany"]}), "problem", "nothing can be written there"),
        (claim(status={"phase": "Lost"}), "problem", "its volume is gone"),
        (claim(status={"phase": "Pending", "accessModes": None}), "warning", "shared: ReadWriteMany, pending"),
        (claim(metadata={"deletionTimestamp": "2026-11-26T20:08:02Z"}), "problem", "it is being deleted"),
    ],
)
def test_a_claim_is_there_is_bound_and_is_for_many(changes, level: str, words: str) -> None:
    one = findings(PROFILE, answers(changes))["claim"]
    assert one.level == level
    assert words in one.found


def storage_class(name: str, provisioner: str, *, default: bool = False) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def classes(name: str, provisioner: str) -> dict[str, Any]:
    return {"classes": {"items": [storage_class(name, provisioner)]}}


@pytest.mark.parametrize(
    ("profile", "changes", "level", "words"),
    [
        ({}, {"classes": {"items": [storage_class("a", "x.io"), storage_class("nfs", "nfs.csi.k8s.io", default=True)]}},
         "ok", "nfs, the default: nfs.csi.k8s.io, which makes ReadWriteMany volumes"),
        ({}, {"classes": {"items": [storage_class("a", "x.io")]}}, "problem", "none is the cluster's default"),
        ({}, {"classes": {"items": []}}, "problem", "none is the cluster's default"),
        ({}, {"classes": FORBIDDEN}, "warning", "the default one cannot be read"),
        ({"storage_class": "gp3"}, classes("gp3", "ebs.csi.aws.com"), "problem", "for one node"),
        ({"storage_class": "own"}, classes("own", "example.org/x"), "ok", "when a claim is bound"),
        ({"storage_class": "hand"}, {"classes": {"items": []}}, "warning", "only volumes made by hand"),
        ({"storage_class": "hand"}, {"classes": FORBIDDEN}, "warning", "hand cannot be read"),
    ],
)  # fmt: skip
def test_a_storage_class_makes_volumes_for_many(profile, changes, level: str, words: str) -> None:
    asked = replace(BARE, claim=None, **profile)
    one = findings(asked, answers(changes, profile=asked))["storage class"]
    assert one.level == level
    assert words in one.found


# --- nodes


def on_nodes(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A change to each of the two workers."""
    return changed("nodes", lambda one: [change(node) for node in one["items"][1:]])


def devices(**counts: str) -> dict[str, Any]:
    def change(node: dict[str, Any]) -> None:
        del node["status"]["allocatable"]["nvidia.com/gpu"]
        node["status"]["allocatable"].update(counts)

    return on_nodes(change)


def taint(key: str, effect: str = "NoSchedule", value: str = "") -> dict[str, Any]:
    return on_nodes(lambda node: node["spec"].update(taints=[{"key": key, "effect": effect, "value": value}]))


GPU = "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("profile", "changes", "what", "level", "words"),
    [
        ({}, devices(**{"amd.com/gpu": "4"}), "GPUs", "problem", "no node has nvidia.com/gpu; other devices here: 8 amd.com/gpu"),  # noqa: E501 - one case
        ({}, devices(**{"nvidia.com/mig-1g.10gb": "7", "cpu": "64"}), "GPUs", "problem", "14 nvidia.com/mig-1g.10gb"),
        ({}, devices(), "GPUs", "warning", "no node has nvidia.com/gpu now"),
        ({"device": "cpu"}, devices(), "GPUs", "ok", "none are asked for"),
        ({"gpu_resource": "nvidia.com/mig-1g.10gb"}, devices(**{"nvidia.com/mig-1g.10gb": "7"}), "GPUs", "ok",
         "14 of nvidia.com/mig-1g.10gb for pods: 7 on node-1, node-2"),
        ({}, taint(GPU), "GPUs", "warning", "nvidia.com/gpu only on nodes that cannot be used now: node-1, node-2"),
        ({}, taint(GPU), "nodes", "warning", "0 of 3 can be used; tainted node-role.kubernetes.io/control-plane: control; tainted nvidia.com/gpu: node-1, node-2"),  # noqa: E501 - one case
        ({"tolerations": ({"key": GPU, "operator": "Exists"},)}, taint(GPU), "GPUs", "ok", "16 of nvidia.com/gpu"),
        ({"tolerations": ({"key": GPU, "value": "a"},)}, taint(GPU, value="a"), "GPUs", "ok", "16 of nvidia.com/gpu"),
        ({"tolerations": ({"key": GPU, "value": "b"},)}, taint(GPU, value="a"), "nodes", "warning", "0 of 3"),
        ({"tolerations": ({"operator": "Exists", "effect": "NoExecute"},)}, taint(GPU), "nodes", "warning", "0 of 3"),
        ({}, taint(GPU, effect="PreferNoSchedule"), "nodes", "ok", "2 of 3 can be used"),
        ({}, on_nodes(lambda node: node["spec"].update(unschedulable=True)), "nodes", "warning", "not ready or cordoned: node-1, node-2"),  # noqa: E501 - one case
        ({}, on_nodes(lambda node: node["status"]["conditions"][-1].update(status="Unknown")), "nodes", "warning", "not ready or cordoned"),  # noqa: E501 - one case
        ({"node_selector": {"orch-test/role": "worker"}}, {}, "nodes", "ok", "2 of 2 with orch-test/role=worker can be used"),  # noqa: E501 - one case
        ({"node_selector": {"pool": "a100"}}, {}, "nodes", "warning", "none of 3 has pool=a100"),
        ({}, {"nodes": FORBIDDEN}, "nodes", "warning", "cannot be listed: nodes is forbidden"),
        ({"rdma": RDMA}, {}, "RDMA", "warning", "no node has rdma/hca_shared_devices_a now"),
    ],
)  # fmt: skip
def test_nodes_and_their_devices_are_counted(profile, changes, what: str, level: str, words: str) -> None:
    asked = replace(PROFILE, **profile)
    one = findings(asked, answers(changes, profile=asked))[what]
    assert one.level == level
    assert words in one.found


def test_many_nodes_are_told_in_a_line() -> None:
    def change(one: Any) -> None:
        one["items"] = [
            {**one["items"][1], "metadata": {"name": f"gpu-{number:03}", "labels": {}}} for number in range(300)
        ]

    found = findings(PROFILE, answers(changed("nodes", change)))
    assert found["GPUs"].found == (
        "2400 of nvidia.com/gpu for pods: 8 on gpu-000, gpu-001, gpu-002, gpu-003, gpu-004, gpu-005 and 294 more"
    )


# --- queues and quotas


def cluster_queue(change: Callable[[Any], object]) -> dict[str, Any]:
    return changed("cluster queue", change)


QUOTA = "quota of the queue"
EMPTY = {
    "namespaceSelector": {},
    "resourceGroups": [{"coveredResources": ["nvidia.com/gpu", "cpu", "memory"], "flavors": []}],
}


def inactive(message: str) -> Callable[[Any], object]:
    return lambda one: one["status"].update(conditions=[{"type": "Active", "status": "False", "message": message}])


@pytest.mark.parametrize(
    ("changes", "what", "level", "words"),
    [
        ({"kueue": GONE}, "queue", "problem", "the cluster serves no Kueue"),
        ({"kueue": FORBIDDEN}, "queue", "warning", "no Kueue of a version that orch knows"),
        ({"queue": GONE}, "queue", "problem", "there is no training in train"),
        ({"queue": FORBIDDEN}, "queue", "warning", "training cannot be read"),
        (changed("queue", inactive("Can't submit new workloads to clusterQueue")), "queue", "problem",
         "it is not active: Can't submit new workloads to clusterQueue"),
        (changed("queue", lambda one: one["spec"].update(stopPolicy="Hold")), "queue", "problem", "stopped (Hold)"),
        ({"cluster queue": GONE}, QUOTA, "problem", "there is no ClusterQueue gpus"),
        ({"cluster queue": FORBIDDEN}, QUOTA, "warning", "the ClusterQueue gpus cannot be read"),
        (cluster_queue(inactive("references missing ResourceFlavor")), QUOTA, "problem", "missing"),
        (cluster_queue(lambda one: one["spec"].update(stopPolicy="HoldAndDrain")), QUOTA, "problem", "stopped"),
        (cluster_queue(lambda one: one["spec"].update(namespaceSelector=None)), QUOTA, "problem",
         "takes no jobs of train"),
        (cluster_queue(lambda one: one["spec"].update(namespaceSelector={"matchLabels": {"team": "b"}})),
         QUOTA, "problem", "takes no jobs of train"),
        (cluster_queue(lambda one: one["spec"].update(namespaceSelector={"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["train", "other"]}]})),
         QUOTA, "ok", "8 of 16"),
        (cluster_queue(lambda one: one["spec"]["resourceGroups"][0].update(coveredResources=["cpu", "memory"])),
         QUOTA, "warning", "it has no quota of nvidia.com/gpu"),
        (cluster_queue(lambda one: one["spec"]["resourceGroups"][0].update(flavors=[])),
         QUOTA, "ok", "no quota of its own"),
        (cluster_queue(lambda one: one.update(spec={**EMPTY, "cohortName": None})), QUOTA, "problem",
         "no job of nvidia.com/gpu, cpu fits"),
    ],
)  # fmt: skip
def test_a_queue_is_there_is_active_and_has_quota(changes, what: str, level: str, words: str) -> None:
    one = findings(PROFILE, answers(changes))[what]
    assert one.level == level
    assert words in one.found


def test_a_namespace_with_queues_and_a_profile_without_is_told() -> None:
    one = findings(BARE, answers(profile=BARE))["queue"]
    assert (one.level, one.found) == ("warning", "the profile names none, and train has training")


def test_kueue_is_asked_in_the_version_that_it_serves() -> None:
    old = changed("kueue", lambda one: one.update(versions=[{"version": "v1beta1"}]))
    found = Answers(host="h", namespace="train", found=typed({**recorded(), **old}))
    assert of_queues(PROFILE, found)[QUEUE] == ("/apis/kueue.x-k8s.io/v1beta1/namespaces/train/localqueues/training")
    assert of_cluster_queue(found)[CLUSTER_QUEUE] == "/apis/kueue.x-k8s.io/v1beta1/clusterqueues/gpus"
    assert of_queues(PROFILE, replace(found, found=typed({**recorded(), "kueue": GONE}))) == {}


def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
    document = {
        "metadata": {"name": "team"},
        "spec": {"hard": hard, **spec},
        "status": {"hard": hard, "used": used},
    }
    return {"quotas": {"items": [document]}}


def limits(**of_container: dict[str, str]) -> dict[str, Any]:
    limit = {"type": "Container", **of_container}
    return {"limits": {"items": [{"metadata": {"name": "defaults"}, "spec": {"limits": [limit]}}]}}


GPUS = "requests.nvidia.com/gpu"


@pytest.mark.parametrize(
    ("profile", "changes", "level", "words"),
    [
        ({}, quota({GPUS: "8", "pods": "20"}, {GPUS: "4", "pods": "2"}), "ok", f"4 of 8 {GPUS}, 2 of 20 pods"),
        ({}, quota({GPUS: "8"}, {GPUS: "8"}), "warning", f"used up: {GPUS}"),
        ({}, quota({"pods": "1"}, {"pods": "1"}), "warning", "used up: pods"),
        ({}, quota({"count/configmaps": "0"}, {}), "problem", "no job may have any count/configmaps"),
        ({}, quota({GPUS: "0"}, {}), "problem", f"no job may have any {GPUS}"),
        ({"device": "cpu"}, quota({GPUS: "0"}, {}), "ok", f"0 of 0 {GPUS}"),
        (
            {},
            quota({"limits.memory": "1Ti"}, {"limits.memory": "0"}),
            "warning",
            "every pod must ask for limits.memory",
        ),
        (
            {},
            {**quota({"limits.memory": "1Ti"}, {}), **limits(default={"memory": "16Gi"})},
            "ok",
            "0 of 1Ti limits.memory",
        ),
        ({"device": "cpu"}, quota({"requests.cpu": "64"}, {}), "warning", "every pod must ask for requests.cpu"),
        ({}, quota({"requests.cpu": "64"}, {"requests.cpu": "500m"}), "ok", "500m of 64 requests.cpu"),
        ({}, quota({"pods": "0"}, {}, scopes=["BestEffort"]), "ok", "for some pods only"),
    ],
)
def test_the_quota_of_the_namespace_has_room(profile, changes, level: str, words: str) -> None:
    asked = replace(PROFILE, **profile)
    one = findings(asked, answers(changes, profile=asked))["quota team"]
    assert one.level == level
    assert words in one.found


def test_little_memory_for_who_asks_for_none_is_told() -> None:
    small = findings(PROFILE, answers(limits(default={"memory": "512Mi"})))["memory"]
    assert small.found == "a pod that asks for no memory may use 512Mi (LimitRange)"
    assert "memory" not in findings(PROFILE, answers(limits(default={"memory": "64Gi"})))


@pytest.mark.parametrize(
    ("profile", "changes", "what", "level"),
    [
        ({"priority_class": "high"}, {"priority class": GONE}, "priority class", "problem"),
        ({"priority_class": "high"}, {"priority class": {"metadata": {"name": "high"}}}, "priority class", "ok"),
        ({"workload_priority": "high"}, {"workload priority": GONE}, "workload priority", "problem"),
        ({"service_account": "job"}, {"service account": GONE}, "service account", "problem"),
        ({"gang": "volcano"}, {"gang": GONE}, "gang", "problem"),
        ({"gang": "volcano"}, {"gang": {"resources": [{"name": "podgroups"}]}}, "gang", "ok"),
        ({"gang": "coscheduling"}, {"gang": FORBIDDEN}, "gang", "warning"),
    ],
)
def test_what_a_profile_names_must_be_there(profile, changes, what: str, level: str) -> None:
    asked = replace(PROFILE, **profile)
    assert findings(asked, answers(changes, profile=asked))[what].level == level


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("8", 8),
        ("500m", 0.5),
        ("200Gi", 200 * 2**30),
        ("1k", 1000),
        ("1e3", 1000),
        ("1E", 1e18),
        ("1Ei", 2**60),
        ("x", 0),
    ],
)
def test_quantities_are_numbers(quantity: str, number: float) -> None:
    assert amount(quantity) == number


# --- permissions


def asked(profile: KubernetesProfile, changes: Mapping[str, Any] | None = None) -> set[tuple[str, str, str]]:
    found = Answers(host="h", namespace="train", found=typed({**recorded(), **(changes or {})}))
    return {(right.verb, right.resource, right.group) for right in rights.rights(profile, found)}


def test_each_verb_that_is_used_is_asked_about() -> None:
    found = asked(replace(PROFILE, job_kind="jobset", claim=None, gang="volcano"))
    assert found == {
        *((verb, "configmaps", "") for verb in ("create", "get", "list", "patch", "delete")),
        *((verb, "persistentvolumeclaims", "") for verb in ("create", "get")),
        *((verb, "pods", "") for verb in ("list", "watch", "delete")),
        ("get", "pods/log", ""),
        ("list", "events", ""),
        ("list", "nodes", ""),
        *((verb, "jobsets", "jobset.x-k8s.io") for verb in ("create", "get", "list", "patch", "delete")),
        ("get", "trainjobs", "trainer.kubeflow.org"),
        ("get", "pytorchjobs", "kubeflow.org"),
        *((verb, "podgroups", "scheduling.volcano.sh") for verb in ("create", "patch", "delete")),
        ("list", "workloads", "kueue.x-k8s.io"),
        ("get", "localqueues", "kueue.x-k8s.io"),
        ("get", "localqueues/pendingworkloads", "visibility.kueue.x-k8s.io"),
    }
    assert ("get", "clustertrainingruntimes", "trainer.kubeflow.org") in asked(PROFILE)
    assert ("get", "localqueues/pendingworkloads", "visibility.kueue.x-k8s.io") not in asked(
        PROFILE, {"visibility": GONE}
    )
    assert ("create", "persistentvolumeclaims", "") not in asked(PROFILE)
    assert not {of for of in asked(BARE) if "kueue" in of[2]}


def test_a_right_is_asked_for_as_the_server_names_it() -> None:
    log = Right(verb="get", resource="pods/log", lost="")
    assert rights.review(log, "train") == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "train"}},
    }
    runtime = Right(
        verb="get", resource="clustertrainingruntimes", group="trainer.kubeflow.org", name="a", everywhere=True, lost=""
    )
    assert rights.review(runtime, "train")["spec"]["resourceAttributes"] == {
        "verb": "get", "group": "trainer.kubeflow.org", "resource": "clustertrainingruntimes", "name": "a",
    }  # fmt: skip


def test_what_is_not_allowed_is_told_by_resource_with_what_is_lost() -> None:
    denied = (
        ("create", "trainjobs"),
        ("patch", "trainjobs"),
        ("list", "events"),
        ("list", "nodes"),
        ("get", "pods/log"),
    )
    judged, can, cannot = judge.judge(PROFILE, answers(denied=denied))
    told = {one.found: one for one in judged if one.what == "permission"}
    jobs = told["create and patch trainjobs.trainer.kubeflow.org is not allowed in train: nothing can be submitted"]
    assert jobs.level == "problem"
    assert jobs.todo.endswith("or one with: create and patch trainjobs.trainer.kubeflow.org")
    events = told[
        "list events is not allowed in train: why a job gets no pods cannot be said, nor is it ended for that"
    ]
    assert events.level == "warning"
    nodes = told["list nodes is not allowed in the cluster: no node is left out, whatever it did to jobs before"]
    assert nodes.todo.startswith("have the ClusterRole of manifests/rbac.yaml")
    assert len(told) == 4
    assert "Why a job has no pods cannot be said, nor is it ended for that: orch may not list events." in cannot
    assert "No node is left out, whatever it did to jobs before: orch may not list nodes." in cannot
    assert not any("gets no pods" in sentence for sentence in can)


@pytest.mark.parametrize("kind", ["auto", *JOB_RESOURCES])
def test_the_manifests_grant_each_verb_that_is_used(kind: Any) -> None:
    objects = list(yaml.safe_load_all((ROOT / "manifests" / "rbac.yaml").read_text()))
    rules = {scope: [one["rules"] for one in objects if one["kind"] == scope] for scope in ("Role", "ClusterRole")}
    for gang in ("volcano", "coscheduling"):
        for runtime in ("orch-torch", "TrainingRuntime/mine"):
            profile = replace(PROFILE, job_kind=kind, claim=None, gang=gang, runtime=runtime)
            for right in rights.rights(profile, answers(profile=profile)):
                (granted,) = rules["ClusterRole" if right.everywhere else "Role"]
                assert any(
                    right.group in rule["apiGroups"]
                    and right.resource in rule["resources"]
                    and right.verb in rule["verbs"]
                    for rule in granted
                ), right


def test_reviews_that_nobody_answers_are_a_warning() -> None:
    every = answers()
    silent = replace(every, rights={**every.rights, next(iter(every.rights)): FORBIDDEN})
    one = findings(PROFILE, silent)["permission"]
    assert one.level == "warning"
    assert one.found.startswith(
        "of 1 things that orch does it is not known whether they are allowed: nodes is forbidden"
    )


# --- promises


def test_what_cannot_be_promised_follows_the_profile() -> None:
    bare = replace(BARE, job_kind="pytorchjob", force_delete=True)
    _, _, cannot = judge.judge(bare, answers(profile=bare))
    assert "Some pods of a job may hold GPUs while others wait for theirs: neither `queue` nor `gang` is set." in cannot
    assert "A PyTorchJob whose pods are refused says nothing of it in its status: only events do." in cannot
    assert any("deleted by force" in sentence for sentence in cannot)
    queued = replace(PROFILE, job_kind="pytorchjob")
    _, _, cannot = judge.judge(queued, answers(profile=queued))
    assert any("take no PyTorchJob any more" in sentence for sentence in cannot)
    assert any("`force_delete` is off" in sentence for sentence in cannot)
    lossy = replace(PROFILE, job_kind="trainjob", priority_class="high")
    _, _, cannot = judge.judge(lossy, answers(profile=lossy))
    assert any(sentence.startswith("Priority_class: a TrainJob cannot set it") for sentence in cannot)


# --- adding


def test_a_cluster_fills_in_what_only_it_can_tell() -> None:
    claims = {"claims": {"items": [recorded()["claim"]]}}
    assert judge.filled_in(BARE, {"kind", "claim"}, answers(claims)) == {"queue": "training"}
    assert judge.filled_in(BARE, {"kind"}, answers(claims)) == {"claim": "shared", "queue": "training"}
    assert judge.filled_in(BARE, {"storage_class", "queue"}, answers(claims)) == {}
    of_run = json.loads(json.dumps(recorded()["claim"]))
    of_run["metadata"]["labels"] = {"orch/run": "tiny"}
    assert judge.filled_in(BARE, {"queue"}, answers({"claims": {"items": [of_run]}})) == {}
    amd = devices(**{"amd.com/gpu": "4"})
    assert judge.filled_in(BARE, {"queue"}, answers(amd)) == {"gpu_resource": "amd.com/gpu"}
    assert judge.filled_in(BARE, {"queue", "gpu_resource"}, answers(amd)) == {}
