"""Facts of this machine, from what its tools print and from this very machine."""

from __future__ import annotations

import os

from orchestrator.clusters import open_backend
from orchestrator.clusters.hosts.machine import Gpu, gpus_of_node, look, parse_nvidia_smi
from orchestrator.model.cluster import Profile

TWO = "0, NVIDIA H200, 143771\n1, NVIDIA H200, 143771\n"


def test_gpus_are_read_from_nvidia_smi() -> None:
    assert parse_nvidia_smi(TWO) == [
        Gpu(index="0", name="NVIDIA H200", memory=143771 * 2**20),
        Gpu(index="1", name="NVIDIA H200", memory=143771 * 2**20),
    ]


def test_what_is_no_line_about_a_gpu_is_left_out() -> None:
    assert parse_nvidia_smi("No devices were found\n\n0, NVIDIA H200, [N/A]\n") == []


def test_nodes_on_one_machine_share_its_gpus_out() -> None:
    assert gpus_of_node(["0", "1", "2", "3"], 1, 2) == ["2", "3"]
    assert gpus_of_node(["GPU-a", "GPU-b"], 0, 1) == ["GPU-a"]
    assert gpus_of_node(["0"], 1, 1) is None


def test_with_every_gpu_hidden_the_device_is_the_cpu() -> None:
    found = look({**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert (found.gpu_count, found.device) == (0, "cpu")
    assert found.host_memory is not None
    assert found.host_memory > 2**28


def test_a_profile_overrides_what_was_found(orch_home: os.PathLike[str]) -> None:
    profile = Profile(kind="local", device="cpu", host_memory=7, gpu="a100-80gb")
    cluster = open_backend("local", profile, os.fspath(orch_home)).probe()
    assert (cluster.device, cluster.host_memory, cluster.gpu) == ("cpu", 7, "a100-80gb")
