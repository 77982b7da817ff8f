"""What keeps an attempt from starting is told, and what cannot heal ends it after a bound."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

from orchestrator.clusters.kubernetes.backend import KubernetesBackend
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.errors import Unreachable
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission
from testbeds.kubernetes.cluster import Cluster
from testbeds.kubernetes.operators import RESTRICTED
from tests.kubernetes.conftest import Make
from tests.kubernetes.inprocess import prepared, submission, suspended
from tests.kubernetes.lab import KubeLab

full = pytest.mark.full
DONE = "print('done')"


def overlay(**spec: Any) -> dict[str, Any]:
    """The same for the pods of both roles of a PyTorchJob."""
    roles = {role: {"template": {"spec": spec}} for role in ("Master", "Worker")}
    return {"spec": {"pytorchReplicaSpecs": roles}}


def submitted(lab: KubeLab, **changes: Any) -> str:
    return lab.submit(lab.script("short", DONE, **changes))


def stops(lab: KubeLab, run: str, words: str) -> None:
    """It ends by itself, needs its user, and nothing of it is left."""
    status = lab.until_phase(run, "stopped")
    assert status["cause"] == "stuck"
    assert words in status["because"]
    lab.until(lambda: not lab.objects(run) and not lab.pods(run), seconds=180, hint="nothing of it is left")


BOUND = 8  # seconds


def test_an_image_that_is_not_there(make_lab: Make) -> None:
    lab = make_lab(image="docker.io/local/no-such-image:1", stuck_after=BOUND)
    run = submitted(lab)
    lab.until_told(run, "Err")
    stops(lab, run, "no-such-image")


@pytest.mark.full
def test_a_node_selector_that_no_node_has(make_lab: Make) -> None:
    lab = make_lab(node_selector={"disk": "none"}, stuck_after=BOUND)
    run = submitted(lab)
    lab.until_told(run, "cannot be scheduled")
    stops(lab, run, "affinity/selector")


@full
def test_nodes_that_are_away_are_waited_for(make_lab: Make, kube_bed: Cluster) -> None:
    lab = make_lab(node_selector={"kubernetes.io/hostname": "node-2"}, stuck_after=BOUND)
    kube_bed.kubectl("taint", "node", "node-2", "node.kubernetes.io/away:NoSchedule")
    try:
        run = submitted(lab, resources={"nodes": 1, "gpus_per_node": 1})
        assert lab.until_told(run, "untolerated taint")["phase"] == "queued"
        time.sleep(2 * BOUND)
        assert lab.status(run)["phase"] == "queued", "its node may come back"
    finally:
        kube_bed.kubectl("taint", "node", "node-2", "node.kubernetes.io/away-")
    lab.finish(run)


def test_files_of_the_same_run_from_elsewhere_are_not_taken_for_ones_own(make_lab: Make) -> None:
    lab = make_lab("jobset", overlay=suspended("jobset"))
    lab.submit(lab.script("short", DONE))
    lab.until(lambda: lab.objects("short"), hint="it is handed over")
    lab.kill_orch()
    lab.kubectl("delete", "jobset", "orch-short-1")
    shutil.rmtree(lab.home)
    lab.home.mkdir()
    done = lab.orch("submit", str(lab.script("short", "print('mended')")), check=False)
    assert done.returncode == 4
    assert "files of the same run that are not these" in done.stderr
    assert "kubectl delete configmap orch-short-1" in done.stderr
    lab.kubectl("delete", "configmap", "orch-short-1")
    lab.orch("submit", str(lab.jobs / "short.yaml"), "--name", "again")
    lab.until(lambda: lab.objects("again") == ["orch-again-1"], hint="it is handed over")


@pytest.mark.parametrize("labels", [{}, {"orch/run-id": "0123456789ab", "orch/run": "short"}])
def test_a_name_that_is_somebody_elses_is_not_adopted(make_lab: Make, labels: dict[str, str]) -> None:
    lab = make_lab("jobset")
    metadata = {"name": "orch-short-1", "namespace": lab.space.name, "labels": labels}
    lab.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    done = lab.orch("submit", str(lab.script("short", DONE)), check=False)
    assert done.returncode == 4, done.stderr
    assert "the name orch-short-1 is taken" in done.stderr
    assert ("0123456789ab" if labels else "something that is not orch's") in done.stderr
    assert lab.objects("short") == []


@pytest.mark.full
def test_more_gpus_than_there_are_is_waited_for(make_lab: Make) -> None:
    lab = make_lab(device="cuda", stuck_after=BOUND)
    run = submitted(lab, resources={"nodes": 1, "gpus_per_node": 3})
    assert lab.until_told(run, "Insufficient nvidia.com/gpu")["phase"] == "queued"
    lab.orch("cancel", run)
    lab.until_phase(run, "cancelled")


def test_pods_that_podsecurity_refuses(make_lab: Make) -> None:
    lab = make_lab(overlay=overlay(securityContext={"runAsNonRoot": False, "runAsUser": 0}), stuck_after=BOUND)
    run = submitted(lab)
    lab.until_told(run, "PodSecurity")
    stops(lab, run, "PodSecurity")


@full
def test_a_quota_with_no_room_is_waited_for_until_there_is(make_lab: Make) -> None:
    lab = make_lab(stuck_after=BOUND)
    lab.kubectl("create", "quota", "small", "--hard=pods=0")
    lab.until(lambda: lab.kubectl("get", "quota", "small", "-o", "jsonpath={.status.hard}"), hint="it is counted")
    run = submitted(lab)
    assert lab.until_told(run, "exceeded quota")["phase"] == "queued"
    lab.kubectl("delete", "quota", "small")
    lab.finish(run)


@pytest.mark.full
def test_another_attempt_waits_for_the_room_that_the_one_before_it_takes(make_lab: Make) -> None:
    lab = make_lab("jobset", overlay=suspended("jobset"))
    lab.kubectl("create", "quota", "one", "--hard=count/jobsets.jobset.x-k8s.io=1")
    given = json.loads(lab.config.read_text())["clusters"]["k8s"]
    profile = KubernetesProfile(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    )
    backend = KubernetesBackend("k8s", profile, lab.home)
    made = prepared(lab.script("short", DONE), backend)
    first, second = submission(lab, made), submission(lab, made, 2)
    lab.until(lambda: "count/jobsets" in lab.kubectl("get", "quota", "one", "-o", "jsonpath={.status.used}"))
    lab.until(lambda: _is_taken(backend, first, made.bundle), hint="attempt 1 is handed over")
    with pytest.raises(Unreachable, match="has no room for attempt 2 yet"):
        backend.submit(second, made.bundle, {})
    lab.until(lambda: not lab.objects("short"), hint="the object of attempt 1 is gone")
    lab.until(lambda: _is_taken(backend, second, made.bundle), hint="there is room for attempt 2")
    assert lab.objects("short") == ["orch-short-2"]


def _is_taken(backend: KubernetesBackend, one: Submission, bundle: Bundle) -> bool:
    try:
        return backend.submit(one, bundle, {}) == f"jobset/orch-short-{one.attempt}"
    except Unreachable:
        return False


@pytest.mark.full
def test_a_webhook_that_refuses_pods(make_lab: Make) -> None:
    lab = make_lab(stuck_after=BOUND)
    lab.cluster.apply(json.dumps(policy(lab.space.name)))
    lab.cluster.apply(json.dumps(binding(lab.space.name)))
    trial = ("-n", lab.space.name, "create", "--dry-run=server", "-f", "-")
    lab.until(
        lambda: (
            "no pods on Thursdays" in lab.cluster.said(*trial, input=json.dumps(harmless(lab.cluster.image))).stderr
        ),
        hint="the server has taken notice",
    )
    run = submitted(lab)
    lab.until_told(run, "no pods on Thursdays")
    stops(lab, run, "no pods on Thursdays")


@pytest.mark.full
def test_a_secret_that_is_missing_may_come(make_lab: Make) -> None:
    lab = make_lab(stuck_after=600)
    run = submitted(lab, secrets={"HF_TOKEN": {"kubernetes": "hub/token"}})
    lab.until_told(run, "hub")
    lab.kubectl("create", "secret", "generic", "hub", "--from-literal=token=hf_x")
    lab.finish(run)


@full
def test_a_secret_that_stays_missing_ends_the_attempt(make_lab: Make) -> None:
    lab = make_lab(stuck_after=BOUND)
    run = submitted(lab, secrets={"HF_TOKEN": {"kubernetes": "hub/token"}})
    lab.until_told(run, "hub")
    stops(lab, run, "hub")


@full
def test_a_claim_that_is_missing(make_lab: Make) -> None:
    lab = make_lab(claim="elsewhere", stuck_after=BOUND)
    run = submitted(lab)
    lab.until_told(run, "elsewhere")
    stops(lab, run, "not found")


@pytest.mark.parametrize(
    "kind", ["jobset", pytest.param("pytorchjob", marks=full), pytest.param("trainjob", marks=full)]
)
def test_an_interpreter_that_the_image_does_not_have(make_lab: Make, kind: str) -> None:
    lab = make_lab(kind, python="/opt/none/python3")
    run = submitted(lab, restart={"max_failures": 0})
    status = lab.until_phase(run, "failed", "stopped")
    assert "/opt/none/python3" in status["because"], status


def test_what_the_server_itself_refuses_leaves_nothing_behind(make_lab: Make) -> None:
    lab = make_lab(overlay={"spec": {"noSuchField": 1}})
    done = lab.orch("submit", str(lab.script("short", DONE)), check=False)
    assert done.returncode == 4
    assert "noSuchField" in done.stderr
    assert lab.objects("short") == []
    assert "short" not in lab.kubectl("get", "configmaps", "-o", "name")


def harmless(image: str) -> dict[str, Any]:
    """A pod that PodSecurity lets pass."""
    container = {"name": "node", "image": image, "securityContext": RESTRICTED}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}, "spec": {"containers": [container]}}


def policy(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "validations": [{"expression": "false", "message": "no pods on Thursdays"}],
        },
    }


def binding(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        },
    }
