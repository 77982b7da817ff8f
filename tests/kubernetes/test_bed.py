"""The test bed itself: what the other tests here build on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbeds.kubernetes.access import Access, Space
from testbeds.kubernetes.cluster import Cluster
from testbeds.kubernetes.layout import WORKERS

TORCH = "import socket, torch; open('/shared/' + socket.gethostname(), 'w').write(str(torch.ones(2).sum().item()))"
SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture
def space(kube_cluster: Access, request: pytest.FixtureRequest) -> Iterator[Space]:
    yield kube_cluster.namespace(request.node.name)
    kube_cluster.heal()


def pod_spec(cluster: Access, space: Space, code: str, *, container: str = "node", **more: object) -> dict[str, object]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": SECURITY,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": container,
                "image": cluster.image,
                "command": [cluster.python, "-c", code],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            }
        ],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": space.claim}}],
        **more,
    }


def pod(cluster: Access, space: Space, name: str, code: str, **more: Any) -> str:
    metadata = {"name": name, "namespace": space.name}
    spec = pod_spec(cluster, space, code, **more)
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def job(cluster: Access, space: Space, kind: str) -> str:
    """Two pods that write their names to the claim."""
    code = (
        "import os, socket; open('/shared/' + socket.gethostname(), 'w').close(); print(os.environ.get('PET_NNODES'))"
    )
    named = {"name": "pair", "namespace": space.name}
    template = {"spec": pod_spec(cluster, space, code)}
    two = {"completionMode": "Indexed", "parallelism": 2, "completions": 2, "template": template}
    if kind == "jobset":
        spec: dict[str, object] = {"replicatedJobs": [{"name": "node", "replicas": 1, "template": {"spec": two}}]}
        return yaml.safe_dump(
            {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": named, "spec": spec}
        )
    if kind == "pytorchjob":
        torch = {"spec": pod_spec(cluster, space, code, container="pytorch")}
        replica = {"replicas": 1, "restartPolicy": "Never", "template": torch}
        spec = {"pytorchReplicaSpecs": {"Master": replica, "Worker": replica}, "runPolicy": {"cleanPodPolicy": "None"}}
        return yaml.safe_dump({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": named, "spec": spec})
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    node = {"name": "node", "template": {"metadata": {"labels": labels}, "spec": {"template": template}}}
    runtime = {"mlPolicy": {"numNodes": 2, "torch": {}}, "template": {"spec": {"replicatedJobs": [node]}}}
    api = "trainer.kubeflow.org/v1alpha1"
    return yaml.safe_dump_all(
        [
            {"apiVersion": api, "kind": "TrainingRuntime", "metadata": named, "spec": runtime},
            {
                "apiVersion": api, "kind": "TrainJob", "metadata": named,
                "spec": {"runtimeRef": {"kind": "TrainingRuntime", "name": "pair"}, "trainer": {"numNodes": 2}},
            },
        ]
    )  # fmt: skip


def phases(cluster: Access, space: Space) -> list[str]:
    return [each["status"]["phase"] for each in cluster.items("pods", "-n", space.name)]


def test_restricted_pods_use_this_interpreter_on_both_nodes_and_share_a_claim(kube_bed: Cluster, space: Space) -> None:
    assert space.shared
    for node in WORKERS:
        kube_bed.apply(pod(kube_bed, space, node, TORCH, nodeName=node))
    kube_bed.until(lambda: phases(kube_bed, space) == ["Succeeded", "Succeeded"], seconds=180, hint="both pods end")
    assert {path.name: path.read_text() for path in space.shared.iterdir()} == {"node-1": "2.0", "node-2": "2.0"}
    open_pod = pod(kube_bed, space, "open", "", securityContext={})
    refused = kube_bed.said("apply", "--server-side", "-f", "-", input=open_pod)
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize("kind", ["pytorchjob", "jobset", "trainjob"])
@pytest.mark.full
def test_two_pods_of_each_kind_of_job_end_well(kube_cluster: Access, space: Space, kind: str) -> None:
    if not kube_cluster.serves(kind):
        pytest.skip(f"this cluster serves no {kind}")
    # The webhook for TrainJobs may not know yet of a runtime that is there.
    apply = ("apply", "--server-side", "--validate=strict", "-f", "-")
    text = job(kube_cluster, space, kind)
    kube_cluster.until(lambda: kube_cluster.said(*apply, input=text).returncode == 0, hint="the job is taken")
    over = {"pytorchjob": "Succeeded", "jobset": "Completed", "trainjob": "Complete"}[kind]

    def ended() -> bool:
        told = kube_cluster.get(kind, "pair", "-n", space.name).get("status", {}).get("conditions", [])
        return any(each["type"] == over and each["status"] == "True" for each in told)

    kube_cluster.until(ended, seconds=180, hint=f"the {kind} is {over}")
    if space.shared:
        assert len(list(space.shared.iterdir())) == 2


@pytest.mark.full
def test_daemons_are_broken_and_healed(kube_bed: Cluster, space: Space) -> None:
    kube_bed.apply(pod(kube_bed, space, "long", "import time; time.sleep(600)", nodeName="node-2"))
    processes = kube_bed.until(lambda: kube_bed.processes(space.name, "long"), seconds=180, hint="the pod runs")
    assert [command for command in processes.values() if "time.sleep(600)" in command]
    kube_bed.kill_kubelet("node-2")
    kube_bed.kill_containerd("node-2")
    kube_bed.restart_etcd()
    kube_bed.stop_apiserver()
    assert not kube_bed.answers()
    kube_bed.cont_apiserver()
    kube_bed.until(kube_bed.answers, hint="it answers again")
    kube_bed.kill_apiserver()
    kube_bed.start_apiserver()
    kube_bed.scale_operator("jobset", 0)
    kube_bed.set_capacity("node-1", {"nvidia.com/gpu": 2})
    assert kube_bed.get("node", "node-1")["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert kube_bed.processes(space.name, "long"), "what a kubelet has started outlives it"
    kube_bed.heal()
    assert (
        not kube_bed.get("namespace", space.name)
        or kube_bed.get("namespace", space.name)["status"]["phase"] != "Active"
    )
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert "nvidia.com/gpu" not in kube_bed.get("node", "node-1")["status"]["allocatable"]


def test_a_service_account_may_do_what_it_was_given(kube_cluster: Access, space: Space) -> None:
    kubeconfig = kube_cluster.kubeconfig_for(space.name, "default")
    said = kube_cluster.said("get", "pods", f"--kubeconfig={kubeconfig}")
    assert f"system:serviceaccount:{space.name}:default" in said.stderr
    before = kube_cluster.request_counts()
    for _ in range(3):
        kube_cluster.get("pods", "-n", space.name)
    assert kube_cluster.request_counts()["LIST", "pods"] - before["LIST", "pods"] >= 3


@pytest.mark.full
def test_fake_nodes_run_fake_pods(kube_bed: Cluster, space: Space) -> None:
    kube_bed.start_kwok(nodes=3)
    fake = {"tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}], "nodeSelector": {"type": "kwok"}}
    kube_bed.apply(pod(kube_bed, space, "fake", "", **fake))
    kube_bed.until(lambda: phases(kube_bed, space) == ["Running"], hint="the pod seems to run")


@pytest.mark.full
def test_kueue_queues_each_kind_of_job(kueue: Cluster, space: Space) -> None:
    api = "kueue.x-k8s.io/v1beta2"
    quota = {"name": "cpu", "nominalQuota": "4"}
    group = {"coveredResources": ["cpu"], "flavors": [{"name": space.name, "resources": [quota]}]}
    own = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
    kueue.apply(
        yaml.safe_dump_all(
            [
                {"apiVersion": api, "kind": "ResourceFlavor", "metadata": {"name": space.name}},
                {
                    "apiVersion": api, "kind": "ClusterQueue", "metadata": {"name": space.name},
                    "spec": {"namespaceSelector": own, "resourceGroups": [group]},
                },
                {
                    "apiVersion": api, "kind": "LocalQueue", "metadata": {"name": "queue", "namespace": space.name},
                    "spec": {"clusterQueue": space.name},
                },
            ]
        )
    )  # fmt: skip
    for kind in ("pytorchjob", "jobset", "trainjob"):
        documents = list(yaml.safe_load_all(job(kueue, space, kind)))
        documents[-1]["metadata"] |= {"name": f"pair-{kind}", "labels": {"kueue.x-k8s.io/queue-name": "queue"}}
        text = yaml.safe_dump_all(documents)
        kueue.until(lambda text=text: kueue.said("apply", "--server-side", "-f", "-", input=text).returncode == 0)

    def admitted() -> bool:
        told = kueue.items("workloads", "-n", space.name)
        conditions = [{each["type"] for each in one.get("status", {}).get("conditions", [])} for one in told]
        return len(conditions) == 3 and all("Admitted" in each for each in conditions)

    kueue.until(admitted, seconds=180, hint="three workloads are admitted")
    kueue.kubectl(
        "get", "--raw", f"/apis/visibility.kueue.x-k8s.io/v1beta2/clusterqueues/{space.name}/pendingworkloads"
    )


START = """
import time
from testbeds.kubernetes.cluster import Cluster
cluster = Cluster()
cluster.start()
print(cluster.place.number, flush=True)
time.sleep(600)
"""


@pytest.mark.full
def test_nothing_outlives_a_session_that_was_killed(kube_bed: Cluster, pytestconfig: pytest.Config) -> None:
    """Beside the session's own bed, which is left alone."""
    start = [sys.executable, "-c", START]
    with subprocess.Popen(start, cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout
        heir = Cluster(int(session.stdout.readline()))
        session.send_signal(signal.SIGKILL)
    kube_bed.until(lambda: not traces(heir), seconds=180, hint="processes, mounts and links are gone by themselves")
    assert heir.root.exists(), "its files are there"
    heir.start()
    assert traces(heir)
    heir.stop()
    assert not traces(heir)
    assert not heir.root.exists()
    assert kube_bed.answers()


def traces(cluster: Cluster) -> list[str]:
    """What of a cluster is on this machine, other than files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{cluster.root}/" in command:
                found.append(command)
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {cluster.root}/" in line]
    links = subprocess.run(["ip", "-o", "link"], text=True, capture_output=True, check=True).stdout
    found += [line for line in links.splitlines() if cluster.place.links[0] in line]
    return found
