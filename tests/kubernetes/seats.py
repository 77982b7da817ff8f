"""A resource that nodes are said to have, of which there is as much as a test wants."""

from __future__ import annotations

from typing import Any

RESOURCE = "example.com/seat"


def seats(kind: str) -> dict[str, Any]:
    """The resources of a pod, which has no GPU: a seat, and little else."""
    limits = {RESOURCE: "1", "memory": "4Gi"}
    resources = {"requests": {**limits, "cpu": "100m"}, "limits": limits}
    if kind == "trainjob":
        return {"spec": {"trainer": {"resourcesPerNode": resources}}}
    if kind == "jobset":
        pod = {"template": {"spec": {"containers": [{"name": "node", "resources": resources}]}}}
        return {"spec": {"replicatedJobs": [{"name": "node", "template": {"spec": pod}}]}}
    role = {"template": {"spec": {"containers": [{"name": "pytorch", "resources": resources}]}}}
    return {"spec": {"pytorchReplicaSpecs": {"Master": role, "Worker": role}}}
