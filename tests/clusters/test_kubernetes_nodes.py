"""The nodes that a job may get are those that bad nodes are counted against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.clusters.kubernetes.answers import Node, read
from orchestrator.clusters.kubernetes.nodes import fits, may_return
from orchestrator.clusters.kubernetes.profile import KubernetesProfile

PROFILE = KubernetesProfile(kind="kubernetes", node_selector={"pool": "a100"})
NODE: dict[str, Any] = {
    "metadata": {"name": "gpu-1", "labels": {"pool": "a100"}},
    "spec": {},
    "status": {
        "allocatable": {"cpu": "64", "nvidia.com/gpu": "8"},
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
    },
}
NO_SCHEDULE = {"key": "dedicated", "value": "ml", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("node", "profile", "fit"),
    [
        ({}, {}, True),
        ({"metadata": {"name": "x", "labels": {}}}, {}, False),
        ({"spec": {"unschedulable": True}}, {}, False),
        ({"status": {**NODE["status"], "conditions": [{"type": "Ready", "status": "Unknown"}]}}, {}, False),
        ({"status": {**NODE["status"], "allocatable": {"cpu": "64", "nvidia.com/gpu": "0"}}}, {}, False),
        ({"status": {**NODE["status"], "allocatable": {"cpu": "64"}}}, {"device": "cpu"}, True),
        ({}, {"gpu_resource": "amd.com/gpu"}, False),
        ({"spec": {"taints": [NO_SCHEDULE]}}, {}, False),
        ({"spec": {"taints": [NO_SCHEDULE]}}, {"tolerations": ({"key": "dedicated", "value": "ml"},)}, True),
        ({"spec": {"taints": [NO_SCHEDULE]}}, {"tolerations": ({"operator": "Exists"},)}, True),
        ({"spec": {"taints": [{**NO_SCHEDULE, "effect": "PreferNoSchedule"}]}}, {}, True),
        ({"spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}}, {}, True),
    ],
)
def test_a_node_that_a_job_cannot_get_is_no_room_for_it(node: Any, profile: Any, *, fit: bool) -> None:
    assert fits(read(Node, {**NODE, **node}), replace(PROFILE, **profile)) is fit


AWAY = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("node", "profile", "hope"),
    [
        ({"spec": {"taints": [AWAY]}}, {}, True),
        (
            {
                "spec": {
                    "taints": [AWAY, {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule"}]
                }
            },
            {},
            True,
        ),
        ({"spec": {"taints": [AWAY, NO_SCHEDULE]}}, {}, False),
        ({"spec": {"taints": [AWAY, NO_SCHEDULE]}}, {"tolerations": ({"key": "dedicated", "value": "ml"},)}, True),
        ({"spec": {"taints": [AWAY]}, "metadata": {"name": "x", "labels": {}}}, {}, False),
        ({}, {}, False),
    ],
)
def test_a_node_that_is_only_away_may_come_back(node: Any, profile: Any, *, hope: bool) -> None:
    assert may_return(read(Node, {**NODE, **node}), replace(PROFILE, **profile)) is hope
