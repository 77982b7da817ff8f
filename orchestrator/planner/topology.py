"""Nodes, ranks, and how much memory each of them has."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import Topology
from orchestrator.model.spec import Resources

GIB = 2**30

# What the driver reports as total, so a little less than the number in the name.
GPU_MEMORY: Mapping[str, int] = {
    "v100-16gb": 16 * GIB, "v100-32gb": 32 * GIB, "t4": 15 * GIB, "rtx3090": 24 * GIB, "rtx4090": 24 * GIB,
    "a10": 22 * GIB, "l4": 22 * GIB, "l40s": 44 * GIB, "a100-40gb": 39 * GIB, "a100-80gb": 79 * GIB,
    "h100-80gb": 79 * GIB, "h200": 139 * GIB, "b200": 178 * GIB,
}  # fmt: skip


def make_topology(resources: Resources, cluster: Cluster) -> Topology:
    """The ranks that were asked for, on the device that the cluster has."""
    return Topology(
        nodes=resources.nodes,
        ranks_per_node=resources.gpus_per_node,
        device=cluster.device,
        one_machine=cluster.one_machine,
    )


def shortage(topology: Topology, cluster: Cluster) -> str | None:
    """Why the cluster cannot hold so many ranks, or None when it can or is not known well enough."""
    if cluster.one_machine:
        return _shortage_of_one_machine(topology, cluster)
    if cluster.nodes is not None and topology.nodes > cluster.nodes:
        return f"The job wants {topology.nodes} nodes and {cluster.name} has {cluster.nodes}."
    if topology.device != "cpu" and cluster.gpus_per_node and topology.ranks_per_node > cluster.gpus_per_node:
        return f"The job wants {topology.ranks_per_node} GPUs a node and {cluster.name} has {cluster.gpus_per_node}."
    return None


def _shortage_of_one_machine(topology: Topology, cluster: Cluster) -> str | None:
    if topology.device != "cuda" or not cluster.gpus_per_node or topology.world_size <= cluster.gpus_per_node:
        return None
    return f"The job wants {topology.world_size} GPUs on this machine, which has {cluster.gpus_per_node}."


def limits(topology: Topology, cluster: Cluster) -> tuple[int | None, int | None]:
    """Bytes of one rank's GPU and of one machine; None where not known. A rank on a CPU has no memory of its own."""
    host = cluster.host_memory or cluster.profile.host_memory
    if topology.device == "cpu":
        return None, host
    name = (cluster.gpu or cluster.profile.gpu or "").lower()
    return cluster.gpu_memory or cluster.profile.gpu_memory or GPU_MEMORY.get(name), host
