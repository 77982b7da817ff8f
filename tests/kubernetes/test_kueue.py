"""Kueue: what waits for quota is told so, and what is preempted saves, waits, and goes on where it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import Make
from tests.kubernetes.lab import KubeLab
from tests.kubernetes.seats import RESOURCE, seats

full = pytest.mark.full
KINDS = ["jobset", pytest.param("pytorchjob", marks=full), pytest.param("trainjob", marks=full)]


@pytest.fixture
def queued(kueue: Cluster, make_lab: Make) -> Any:
    """Makes a laboratory whose namespace has a queue with room for one job of two pods."""

    def make(kind: str) -> KubeLab:
        for node in ("node-1", "node-2"):
            kueue.set_capacity(node, {RESOURCE: 2})
        lab = make_lab(kind, queue="seats", gpu_resource=RESOURCE)
        name = lab.space.name
        for document in queue_of(name):
            kueue.apply(json.dumps(document))
        return lab

    return make


def queue_of(namespace: str) -> list[dict[str, Any]]:
    """A queue of its own for a namespace: two seats, and who is more important takes them."""
    api = "kueue.x-k8s.io/v1beta2"
    quotas = [{"name": "cpu", "nominalQuota": "100"}, {"name": "memory", "nominalQuota": "1Ti"}]
    quotas.append({"name": RESOURCE, "nominalQuota": "2"})
    group = {
        "coveredResources": [quota["name"] for quota in quotas],
        "flavors": [{"name": namespace, "resources": quotas}],
    }
    return [
        {"apiVersion": api, "kind": "ResourceFlavor", "metadata": {"name": namespace}},
        {
            "apiVersion": api,
            "kind": "ClusterQueue",
            "metadata": {"name": namespace},
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [group],
            },
        },
        {
            "apiVersion": api,
            "kind": "LocalQueue",
            "metadata": {"name": "seats", "namespace": namespace},
            "spec": {"clusterQueue": namespace},
        },
        {"apiVersion": api, "kind": "WorkloadPriorityClass", "metadata": {"name": "urgent"}, "value": 1000},
    ]


@pytest.mark.deepspeed
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_a_preempted_job_saves_waits_and_goes_on(queued: Any, expected: dict[int, float], kind: str) -> None:
    lab: KubeLab = queued(kind)
    lab.profile(queue="seats", overlay=seats(kind))
    run = lab.submit(lab.job(seconds=3.0, after=6))  # it must not be done before Kueue has thought of preemption
    lab.until_step(run, 8)
    lab.profile(queue="seats", overlay=seats(kind), workload_priority="urgent")
    urgent = lab.submit(lab.script("urgent", "import time; time.sleep(5)", resources={"nodes": 2, "gpus_per_node": 1}))
    status = lab.until_phase(run, "queued")
    assert "Kueue" in status["because"], status
    lab.finish(urgent)
    lab.as_if_nothing_had_happened(expected, run)
    assert lab.status(run)["attempt"] == 1
    first = lab.outcomes(run)[0]
    assert (first["result"], first["cause"]) == ("stopped", "asked_to_stop")


@full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["jobset", "pytorchjob", "trainjob"])
def test_a_job_that_waits_for_quota_says_where_it_stands(queued: Any, kind: str) -> None:
    lab: KubeLab = queued(kind)
    lab.profile(queue="seats", overlay=seats(kind))
    both = {"resources": {"nodes": 2, "gpus_per_node": 1}}
    first = lab.submit(lab.script("first", "import time; time.sleep(600)", **both))
    lab.until_phase(first, "starting", "running")
    second = lab.submit(lab.script("second", "print('done')", **both))
    assert lab.until_told(second, "it waits in Kueue's queue seats")["phase"] == "queued"
    lab.orch("cancel", first)
    lab.until_phase(first, "cancelled")
    lab.finish(second)
