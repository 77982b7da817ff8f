"""Whether the devices that a job leaves visible suffice for its ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.errors import JobError
from orchestrator.job.visible import MIG, visible_devices
from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import Topology
from orchestrator.model.spec import Spec

VISIBLE = "CUDA_VISIBLE_DEVICES"
_ONE_SLICE = "a process sees one MIG device, and NCCL connects no two of one GPU"


def hides_all(spec: Spec) -> bool:
    """Whether the job's environment leaves no GPU visible, so that it trains on the CPU."""
    return VISIBLE in spec.env and spec.env[VISIBLE].partition(",")[0].strip() in ("", "-1")


def without_gpus(spec: Spec, cluster: Cluster) -> Cluster:
    """The cluster as the job sees it."""
    return replace(cluster, device="cpu") if hides_all(spec) else cluster


def device_problems(spec: Spec, cluster: Cluster, topology: Topology) -> Iterator[JobError]:
    """Too few devices for the ranks of a node, or devices that no two ranks can use together."""
    ranks = topology.ranks_per_node
    if hides_all(spec) or cluster.profile.device == "cpu":
        return
    if cluster.gpu_slice is not None and ranks > 1:
        yield JobError(
            f"{ranks} ranks on a node cannot train together on {cluster.gpu_slice}: {_ONE_SLICE}",
            hint="Write gpus_per_node: 1, or take whole GPUs.",
            field="resources.gpus_per_node",
        )
    if VISIBLE not in spec.env:
        return
    value = spec.env[VISIBLE]
    devices = visible_devices(value)
    field = f"env.{VISIBLE}"
    if value.strip().startswith(MIG) and ranks > 1:
        yield JobError(
            f"{len(devices)} MIG devices, {ranks} ranks on a node: {_ONE_SLICE}",
            hint="Name one and write gpus_per_node: 1, or take whole GPUs.",
            field=field,
        )
    elif len(devices) < ranks:
        yield JobError(
            f"{value!r} leaves {len(devices)} devices, {ranks} ranks of a node want one each",
            hint=f"Name {ranks} devices, or write gpus_per_node: {max(1, len(devices))}.",
            field=field,
        )


def device_advice(spec: Spec, cluster: Cluster, topology: Topology) -> Iterator[str]:
    """What will work otherwise than it may look."""
    if hides_all(spec) and cluster.device != "cpu":
        yield f"env.{VISIBLE} leaves no GPU visible: the job trains on the CPU."
    if cluster.gpu_slice is not None and topology.ranks_per_node == 1 and topology.nodes > 1:
        yield (
            f"Nodes of this job may get {cluster.gpu_slice} devices of one GPU, and NCCL connects no two of these: "
            "spread them over machines, or take whole GPUs."
        )
