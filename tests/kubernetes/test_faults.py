"""Whatever happens on the cluster in the middle of training: the run ends complete, with undisturbed losses."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbeds.kubernetes.cluster import Cluster
from tests.faults import own_scripts
from tests.kubernetes.conftest import Make
from tests.kubernetes.lab import KINDS, SLOW, STEPS, TOLERATIONS, KubeLab, node_of

pytestmark = [pytest.mark.deepspeed, pytest.mark.timeout(900)]
full = pytest.mark.full
# Where a job of two pods can go on when one of the two workers has died.
CONTROL = {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}


def training(lab: KubeLab, *, step: int = 8, **how: Any) -> str:
    """A run in the middle of its training."""
    run = lab.submit(lab.job(**{"seconds": 3.0, "after": 6, **how}))
    lab.until_step(run, step)
    return run


def processes_of(pod: dict[str, Any], needle: str) -> list[int]:
    """Processes of a pod as this machine sees them."""
    mark = f"ORCH_POD_UID={pod['metadata']['uid']}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0") and needle.encode() in line.replace(b"\0", b" "):
            found.append(int(entry.name))
    return sorted(found)


def kill_a_rank(lab: KubeLab, run: str) -> None:
    ranks = processes_of(lab.pod(run, 1), "orchestrator.job.agent.rank")
    os.kill(ranks[-1], signal.SIGKILL)


def delete_a_pod(lab: KubeLab, run: str) -> None:
    lab.kubectl("delete", "pod", lab.pod(run, 1)["metadata"]["name"], "--wait=false")


def delete_the_head(lab: KubeLab, run: str) -> None:
    lab.kubectl("delete", "pod", lab.pod(run, 0)["metadata"]["name"], "--wait=false")


def evict_a_pod(lab: KubeLab, run: str) -> None:
    """As `kubectl drain` does."""
    name, space = lab.pod(run, 1)["metadata"]["name"], lab.space.name
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": space}}
    path = f"/api/v1/namespaces/{space}/pods/{name}/eviction"
    lab.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def delete_the_object(lab: KubeLab, run: str) -> None:
    [name] = [name for name in lab.objects(run) if name == f"orch-{run}-1"][:1]
    plural = {"pytorchjob": "pytorchjobs", "jobset": "jobsets", "trainjob": "trainjobs"}[lab.kind]
    lab.kubectl("delete", plural, name, "--wait=false")


def kill_the_agent(lab: KubeLab, run: str) -> None:
    """The container ends with it, without a word."""
    agents = processes_of(lab.pod(run, 1), "orchestrator.job.agent")
    os.kill(agents[0], signal.SIGKILL)


FAULTS: dict[str, Callable[[KubeLab, str], None]] = {
    "rank-killed": kill_a_rank,
    "pod-deleted": delete_a_pod,
    "head-deleted": delete_the_head,
    "pod-evicted": evict_a_pod,
    "object-deleted": delete_the_object,
    "agent-killed": kill_the_agent,
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [pytest.param(kind, fault, marks=full) for kind in KINDS for fault in FAULTS],
)
def test_a_run_survives(make_lab: Make, expected: dict[int, float], kind: str, fault: str) -> None:
    lab = make_lab(kind)
    run = training(lab)
    FAULTS[fault](lab, run)
    lab.as_if_nothing_had_happened(expected, run)
    status = lab.status(run)
    assert status["attempt"] == (2 if fault == "object-deleted" else 1), lab.story()
    assert len(lab.generations(run)) == 2


@full
@pytest.mark.parametrize(("kind", "shape"), [("jobset", "hf_trainer"), ("trainjob", "ddp_torch_save")])
def test_a_script_that_knows_nothing_of_orch_survives_an_eviction(make_lab: Make, kind: str, shape: str) -> None:
    lab = make_lab(kind)
    run = lab.submit(lab.job(**own_scripts.keys_of(lab.jobs / "code", shape, pause=1.0)))
    own_scripts.until_late(lab, run)
    evict_a_pod(lab, run)
    lab.finish(run)
    own_scripts.went_on(lab, run)
    assert lab.status(run)["step"] == own_scripts.STEPS


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=full) for kind in KINDS])
def test_a_job_without_a_controller_survives_an_eviction(make_lab: Make, expected: dict[int, float], kind: str) -> None:
    lab = make_lab(kind)
    lab.by_hand(lab.job(seconds=2 * SLOW))
    lab.until_step("tiny", 8)
    evict_a_pod(lab, "tiny")
    lab.until_success("tiny")
    assert lab.counted("tiny") == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [pytest.param("jobset", marks=full), pytest.param("pytorchjob", marks=full)])
def test_who_is_asked_to_stop_saves_first(make_lab: Make, kind: str) -> None:
    lab = make_lab(kind)
    run = training(lab)
    before = lab.step(run)[1]
    evict_a_pod(lab, run)
    lab.until(lambda: len(lab.outcomes(run)) == 1, hint="the first generation has ended", seconds=180)
    outcome = lab.outcomes(run)[0]
    assert (outcome["result"], outcome["cause"]) == ("stopped", "asked_to_stop")
    assert outcome["step"] >= before
    lab.orch("cancel", run)
    lab.until_phase(run, "cancelled")


def test_a_cancel_saves_and_leaves_nothing(make_lab: Make) -> None:
    lab = make_lab("pytorchjob")
    run = training(lab)
    lab.orch("cancel", run)
    status = lab.until_phase(run, "cancelled")
    assert lab.objects(run) == []
    assert not [pod for pod in lab.pods(run) if pod["status"]["phase"] == "Running"]
    assert lab.outcomes(run)[-1]["cause"] == "asked_to_stop"
    assert status["checkpoint"]["step"] == lab.outcomes(run)[-1]["step"], "what was saved on the way out is known"
    lab.orch("resume", run)
    lab.finish(run)
    assert "orch never deletes" in lab.orch("rm", run, "--checkpoints", check=False).stderr
    lab.orch("rm", run)
    assert lab.objects(run) == []
    assert lab.orch("status").stdout == ""


HUNGRY = """
import os, sys
if os.environ["ORCH_GENERATION"] == "1" and os.environ["RANK"] == "1":
    import threading, time
    def eat():
        time.sleep(float(os.environ["HUNGRY_AFTER"]))
        hoard = []
        while True:
            hoard.append(bytearray(b"x" * (64 << 20)))
    threading.Thread(target=eat, daemon=True).start()
sys.argv[0] = "train.py"
exec(open(os.path.join(os.environ["ORCH_BUNDLE"], "code", "train.py")).read())
"""


@full
@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_ran_out_of_memory_once(make_lab: Make, expected: dict[int, float], kind: str) -> None:
    lab = make_lab(kind)
    path = lab.job(run=f"hungry.py --steps {STEPS} --seconds {SLOW}", env={"HUNGRY_AFTER": "8"})
    (lab.jobs / "code" / "hungry.py").write_text(HUNGRY)
    lab.profile(overlay=limits(kind, "3Gi"))
    run = lab.submit(path)
    lab.as_if_nothing_had_happened(expected, run)
    causes = {event.get("data", {}).get("ended_by") or event.get("data", {}).get("cause") for event in lab.events(run)}
    assert "host_oom" in causes


def limits(kind: str, memory: str) -> dict[str, Any]:
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}}
    if kind == "trainjob":
        return {"spec": {"trainer": {"resourcesPerNode": resources}}}
    if kind == "jobset":
        container = {"name": "node", "resources": resources}
        pod = {"template": {"spec": {"containers": [container]}}}
        return {"spec": {"replicatedJobs": [{"name": "node", "template": {"spec": pod}}]}}
    container = {"name": "pytorch", "resources": resources}
    role = {"template": {"spec": {"containers": [container]}}}
    return {"spec": {"pytorchReplicaSpecs": {"Master": role, "Worker": role}}}


def own(lab: KubeLab) -> Cluster:
    if not isinstance(lab.cluster, Cluster):
        pytest.skip("this fault needs the tests' own cluster")
    return lab.cluster


@pytest.mark.parametrize(
    "kind", ["pytorchjob", pytest.param("jobset", marks=full), pytest.param("trainjob", marks=full)]
)
def test_a_dead_kubelet_whose_container_goes_on_and_writes(
    make_lab: Make, expected: dict[int, float], kind: str
) -> None:
    """The orphan goes on, is fenced, and what it writes counts for nothing."""
    lab = make_lab(kind, tolerations=[*TOLERATIONS, CONTROL])
    cluster = own(lab)
    run = training(lab, deaf=True)
    head = lab.pod(run, 0)
    node = head["spec"]["nodeName"]
    cluster.kill_kubelet(node)
    try:
        lab.until_recorded(run, lambda one: one.attempt == 2, hint="at another attempt")
        [lost] = [event for event in lab.events(run) if event["kind"] == "lost"]
        assert lost["data"]["cause"] == "node_lost"
        assert lost["data"]["host"] == node
        assert node in lost["data"]["because"]
        lab.as_if_nothing_had_happened(expected, run, seconds=300)
    finally:
        cluster.start_kubelet(node)
        cluster._await_nodes()


@full
def test_a_dead_machine(make_lab: Make, expected: dict[int, float]) -> None:
    """Its kubelet, its containerd and its containers, all at once."""
    lab = make_lab("jobset", tolerations=[*TOLERATIONS, CONTROL])
    cluster = own(lab)
    run = training(lab, seconds=1.0)
    pod = lab.pod(run, 1)
    node = pod["spec"]["nodeName"]
    cluster.kill_kubelet(node)
    cluster.kill_containerd(node)
    for pid in processes_of(pod, ""):
        os.kill(pid, signal.SIGKILL)
    try:
        lab.as_if_nothing_had_happened(expected, run, seconds=300)
    finally:
        cluster.start_containerd(node)
        cluster.start_kubelet(node)
        cluster._await_nodes()


@full
@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_that_is_away_for_a_minute(make_lab: Make, expected: dict[int, float], kind: str) -> None:
    lab = make_lab(kind)
    cluster = own(lab)
    run = training(lab)
    cluster.scale_operator(kind, 0)
    try:
        delete_a_pod(lab, run)
        time.sleep(60)
        assert lab.status(run)["phase"] not in {"failed", "succeeded", "stopped"}
    finally:
        cluster.scale_operator(kind, 1)
    lab.as_if_nothing_had_happened(expected, run)


@full
def test_an_api_server_that_dies_and_comes_back(make_lab: Make, expected: dict[int, float]) -> None:
    lab = make_lab("jobset")
    cluster = own(lab)
    run = training(lab, seconds=2 * SLOW)
    cluster.kill_apiserver()
    try:
        lab.until_told(run, "does not answer")
        time.sleep(15)
    finally:
        cluster.start_apiserver()
    lab.as_if_nothing_had_happened(expected, run)
    assert (lab.status(run)["attempt"], len(lab.generations(run))) == (1, 1)


@pytest.mark.full
def test_an_api_server_that_hangs_while_a_job_is_submitted(make_lab: Make) -> None:
    """Nobody knows what became of the request: it is tried again, and there is one object."""
    lab = make_lab("pytorchjob")
    cluster = own(lab)
    job = lab.script("short", "print('done')")
    cluster.stop_apiserver()
    try:
        done = lab.orch("submit", str(job), check=False, timeout=120)
    finally:
        cluster.cont_apiserver()
    assert done.returncode == 0, done.stderr
    lab.finish("short")
    assert lab.objects("short") == ["orch-short-1"]
    assert lab.status("short")["attempt"] == 1


@full
def test_an_etcd_that_is_restarted(make_lab: Make, expected: dict[int, float]) -> None:
    lab = make_lab("trainjob")
    cluster = own(lab)
    run = training(lab, seconds=2 * SLOW)
    cluster.restart_etcd()
    lab.as_if_nothing_had_happened(expected, run)
    assert lab.status(run)["attempt"] == 1


def test_the_number_of_a_pods_node_is_known() -> None:
    labels = {"training.kubeflow.org/replica-index": "0", "training.kubeflow.org/replica-type": "worker"}
    assert node_of({"metadata": {"labels": labels}}) == 1
