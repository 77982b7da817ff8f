"""`orch clusters check` and `add` on a real Kubernetes: what is there is told, and what an account may not do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbeds.kubernetes.access import Access, Space
from testbeds.kubernetes.cluster import Cluster
from tests.cli.program import orch

ROOT = Path(__file__).parents[2]
ACCOUNT = "narrow"
# What orch does in a namespace, without what it can do without: events and logs.
RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "list", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "delete"]},
    {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": ["create", "get", "list", "patch"]},
]


@pytest.fixture
def space(kube_cluster: Access, request: pytest.FixtureRequest) -> Iterator[Space]:
    """With a quota, and an account that may do too little."""
    space = kube_cluster.namespace(request.node.name)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": space.name}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount"},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": RULES},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "roleRef": role,
            "subjects": [subject],
        },
        {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "20", "requests.nvidia.com/gpu": "0"}}},
    ]
    metadata = {"name": ACCOUNT, "namespace": space.name}
    kube_cluster.apply(yaml.safe_dump_all({**one, "metadata": metadata} for one in objects))
    kube_cluster.until(
        lambda: kube_cluster.get("resourcequota", ACCOUNT, "-n", space.name).get("status"), hint="the quota is counted"
    )
    yield space
    kube_cluster.delete_namespace(space.name)


@pytest.fixture
def devices(kube_bed: Cluster) -> Iterator[None]:
    """GPUs of two kinds on one node."""
    counts = {"nvidia.com/gpu": 8, "amd.com/gpu": 2}
    kube_bed.set_capacity("node-1", counts)
    yield
    places = [f"/status/{of}/{name.replace('/', '~1')}" for of in ("capacity", "allocatable") for name in counts]
    removed = json.dumps([{"op": "remove", "path": path} for path in places])
    kube_bed.kubectl("patch", "node", "node-1", "--subresource=status", "--type=json", "-p", removed)


def check(directory: Path, code: int, **profile: object) -> dict[str, Any]:
    """What is said as JSON; the same is told to a person, without a traceback."""
    config = directory / "config.yaml"
    config.write_text(json.dumps({"clusters": {"k8s": {"kind": "kubernetes", **profile}}}))
    done = orch("clusters", "check", "k8s", "--json", ORCH_CONFIG=str(config))
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    shown = orch("clusters", "check", "k8s", ORCH_CONFIG=str(config))
    where = f"manifests/ is {ROOT / 'manifests'}\n"
    assert shown.stderr == where * any("manifests/" in one["todo"] for one in found["findings"])
    for one in found["findings"]:
        assert one["what"] in shown.stdout
    return found


def told(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {one["what"]: one for one in found["findings"]}


def levels(found: dict[str, Any]) -> dict[str, str]:
    return {one["what"]: one["level"] for one in found["findings"]}


def test_a_cluster_is_told_as_it_is(
    kube_bed: Cluster, space: Space, devices: None, tmp_path: Path, orch_home: Path
) -> None:
    common = {"kubeconfig": str(kube_bed.kubeconfig), "namespace": space.name, "image": "registry.example/train:1"}
    found = check(tmp_path, 4, job_kind="pytorchjob", claim=space.claim, **common)
    one = told(found)
    assert one["Kubernetes"]["found"].startswith("v1.")
    assert one["account"]["found"] == "admin"
    assert one["namespace"]["found"] == space.name
    assert one["job kind"]["found"].startswith("PyTorchJob (kubeflow.org/v1), as the profile says; ")
    assert "the init container of PyTorchJob's operator" in one["PodSecurity"]["found"]
    assert one["claim"]["found"].startswith("shared: ReadWriteMany, ReadWriteOnce, bound, ")
    assert one["nodes"]["found"].startswith("2 of 3 can be used: node-1, node-2; tainted")
    assert one["GPUs"]["found"] == "8 of nvidia.com/gpu for pods: 8 on node-1; other devices here: 2 amd.com/gpu"
    quota = one[f"quota {ACCOUNT}"]
    assert quota["level"] == "problem"
    assert "0 of 20 pods" in quota["found"]
    assert "no job may have any requests.nvidia.com/gpu" in quota["found"]
    assert one["permission"]["found"].startswith("all ")
    assert found["can"]
    assert found["cannot"]
    cpu = {**common, "device": "cpu"}
    assert levels(check(tmp_path, 0, job_kind="jobset", claim=space.claim, **cpu))[f"quota {ACCOUNT}"] == "ok"
    missing = check(tmp_path, 4, job_kind="trainjob", runtime="none-such", claim="none-such", gang="volcano", **cpu)
    problems = {what for what, level in levels(missing).items() if level == "problem"}
    assert problems == {"runtime", "claim", "gang"}
    nowhere = check(tmp_path, 4, **{**cpu, "namespace": "orch-none-such"}, claim=space.claim)
    assert told(nowhere)["namespace"]["found"] == "there is no orch-none-such"


@pytest.mark.full
def test_orchs_own_runtime_is_taken_as_such(kube_bed: Cluster, space: Space, tmp_path: Path, orch_home: Path) -> None:
    """And the Trainer's own one is not, for TrainJobs would be started again where that cannot help."""
    name = f"orch-torch-{space.name}"[:60].rstrip("-")
    runtime = yaml.safe_load((ROOT / "manifests" / "runtime.yaml").read_text())
    runtime["metadata"] = {**runtime["metadata"], "name": name}
    kube_bed.apply(yaml.safe_dump(runtime))
    common = {"kubeconfig": str(kube_bed.kubeconfig), "namespace": space.name, "claim": space.claim, "device": "cpu"}
    try:
        own = told(check(tmp_path, 0, job_kind="trainjob", runtime=name, **common))["runtime"]
        assert own["level"] == "ok"
        assert own["found"] == f"{name} does all that orch's own does"
    finally:
        kube_bed.kubectl("delete", "clustertrainingruntime", name)
    other = told(check(tmp_path, 0, job_kind="trainjob", runtime="torch-distributed", **common))["runtime"]
    assert other["level"] == "warning"
    assert "podFailurePolicy counts an eviction as a failure" in other["found"]
    auto = told(check(tmp_path, 0, runtime="torch-distributed", **common))["job kind"]
    assert auto["found"].startswith("JobSet (jobset.x-k8s.io/v1alpha2), the first that auto takes; TrainJob: runtime")


def test_what_an_account_may_not_do_is_told_with_what_is_lost(
    kube_cluster: Access, space: Space, tmp_path: Path, orch_home: Path
) -> None:
    way = str(kube_cluster.kubeconfig_for(space.name, ACCOUNT))
    found = check(tmp_path, 4, kubeconfig=way, job_kind="jobset", claim=space.claim, device="cpu", image="a:1")
    one = told(found)
    assert one["account"]["found"] == f"system:serviceaccount:{space.name}:{ACCOUNT}"
    assert one["namespace"]["found"].startswith(f"{space.name}, that of the kubeconfig's context: namespaces")
    assert one["nodes"]["found"].startswith("cannot be listed: nodes is forbidden")
    permissions = {
        one["found"].partition(" is not allowed")[0]: one for one in found["findings"] if one["what"] == "permission"
    }
    assert {words: one["level"] for words, one in permissions.items()} == {
        "delete jobsets.jobset.x-k8s.io": "problem",
        "list events": "warning",
        "get pods/log": "warning",
        "get trainjobs.trainer.kubeflow.org": "warning",
        "get pytorchjobs.kubeflow.org": "warning",
        "list nodes": "warning",
    }
    assert "no attempt can be ended" in permissions["delete jobsets.jobset.x-k8s.io"]["found"]
    assert (
        "Why a job has no pods cannot be said, nor is it ended for that: orch may not list events." in found["cannot"]
    )


@pytest.mark.full
def test_what_only_a_cluster_can_tell_is_filled_in(
    kube_cluster: Access, space: Space, tmp_path: Path, orch_home: Path
) -> None:
    config = tmp_path / "config.yaml"
    way = ("--set", f"kubeconfig={kube_cluster.kubeconfig}", "--set", f"namespace={space.name}")
    done = orch("clusters", "add", "k8s", "--kind", "kubernetes", *way, "--set", "image=a:1", ORCH_CONFIG=str(config))
    assert (done.returncode, done.stdout) == (0, "k8s\n"), done.stderr
    assert f"found claim: {space.claim}" in done.stderr
    profile = yaml.safe_load(config.read_text())["clusters"]["k8s"]
    context = kube_cluster.kubectl("config", "current-context").strip()
    assert profile == {
        "kind": "kubernetes", "kubeconfig": str(kube_cluster.kubeconfig), "namespace": space.name, "image": "a:1",
        "context": context, "claim": space.claim,
    }  # fmt: skip


@pytest.mark.full
def test_a_queue_is_told_with_its_quota_and_what_holds_it(
    kueue: Cluster, space: Space, tmp_path: Path, orch_home: Path
) -> None:
    name = f"{space.name}"[:50].rstrip("-")
    quota = {
        "coveredResources": ["cpu"],
        "flavors": [{"name": name, "resources": [{"name": "cpu", "nominalQuota": 4}]}],
    }
    cluster_queue = {"namespaceSelector": {}, "resourceGroups": [quota]}
    cluster = [("ResourceFlavor", {}), ("ClusterQueue", cluster_queue)]
    version = "kueue.x-k8s.io/v1beta2"
    objects = [
        *({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec} for kind, spec in cluster),
        {
            "apiVersion": version,
            "kind": "LocalQueue",
            "metadata": {"name": "training", "namespace": space.name},
            "spec": {"clusterQueue": name},
        },
    ]
    kueue.apply(yaml.safe_dump_all(objects))
    common = {
        "kubeconfig": str(kueue.kubeconfig), "namespace": space.name, "job_kind": "jobset", "claim": space.claim,
        "device": "cpu",
    }  # fmt: skip
    try:
        kueue.until(lambda: _active(kueue, name), hint="the queue is active")
        found = check(tmp_path, 0, queue="training", **common)
        one = told(found)
        assert one["queue"]["found"] == f"training, of the ClusterQueue {name}: 0 admitted, 0 waiting"
        assert one["quota of the queue"]["found"] == f"{name}: 0 of 4 cpu ({name})"
        assert any("What a job waits for in its queue is reported" in sentence for sentence in found["can"])
        unnamed = told(check(tmp_path, 0, **common))["queue"]
        assert unnamed["found"].endswith("has training")
        kueue.kubectl("patch", "clusterqueue", name, "--type=merge", "-p", '{"spec": {"stopPolicy": "Hold"}}')
        assert (
            "it is stopped (Hold)"
            in told(check(tmp_path, 4, queue="training", **common))["quota of the queue"]["found"]
        )
        wrong = told(check(tmp_path, 4, queue="none-such", **common))["queue"]
        assert wrong["todo"] == "set `queue` to one of: training"
    finally:
        kueue.kubectl("delete", "localqueue", "training", "-n", space.name)
        kueue.kubectl("delete", "clusterqueue,resourceflavor", name)


def _active(cluster: Cluster, name: str) -> bool:
    conditions = cluster.get("clusterqueue", name).get("status", {}).get("conditions", [])
    return any((one["type"], one["status"]) == ("Active", "True") for one in conditions)
