from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import JobError
from orchestrator.job.visible import visible_devices
from tests.planner.conftest import Ask
from tests.planner.jobs import LAPTOP, gpus, plan, script

VALUES = [
    "",
    "0",
    "0,1",
    " 0 , 1 ",
    "-1",
    "0,-1,2",
    "1,1",
    "x",
    "0,x,1",
    "+2",
    "0a,1",
    "GPU-a,GPU-b",
    "GPU-a,1",
    "GPU-a,GPU-a",
]
VALUES += ["MIG-a", "MIG-a,MIG-b", "MIG-GPU-a/1/0,MIG-GPU-a/2/0", "3,2,1,0", "0,", ",0", "no", "00,1"]

TORCH = """
import os, torch
answer = []
for value in question:
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    answer.append([str(device) for device in torch.cuda._parse_visible_devices()])
"""


def test_devices_are_those_that_torch_reads(ask: Ask):
    assert [list(visible_devices(value)) for value in VALUES] == ask(TORCH, VALUES)


def visible(value, *, ranks=8, cluster=None):
    return plan(script(gpus_per_node=ranks, env={"CUDA_VISIBLE_DEVICES": value}), cluster or gpus())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0,1", "leaves 2 devices, 8 ranks"),
        ("0,1,2,3,4,5,6,6", "leaves 0 devices, 8 ranks"),
        ("0,1,2,3,-1,5,6,7", "leaves 4 devices, 8 ranks"),
        ("GPU-aa,GPU-bb", "leaves 2 devices, 8 ranks"),
        ("MIG-aa,MIG-bb", "2 MIG devices, 8 ranks on a node: a process sees one MIG device"),
        (",".join(f"MIG-{n}" for n in range(8)), "8 MIG devices, 8 ranks on a node: a process sees one MIG device"),
    ],
)
def test_fewer_devices_than_ranks_are_refused_with_both_numbers(value, words):
    with pytest.raises(JobError, match=words) as caught:
        visible(value)
    assert caught.value.field == "env.CUDA_VISIBLE_DEVICES"


def test_as_many_devices_as_ranks_are_taken():
    for value in ("0,1", "5,4,3", "GPU-aa,GPU-bb"):
        assert visible(value, ranks=2).topology.device == "cuda"
    assert visible("MIG-aa", ranks=1).topology.device == "cuda"
    on_cpu = replace(LAPTOP, profile=replace(LAPTOP.profile, device="cpu"))
    assert visible("0", ranks=2, cluster=on_cpu).topology.world_size == 2


@pytest.mark.parametrize("value", ["", "-1", " -1,0"])
def test_no_device_at_all_means_the_cpu(value):
    made = visible(value)
    assert made.topology.device == "cpu"
    assert made.warnings[0] == "env.CUDA_VISIBLE_DEVICES leaves no GPU visible: the job trains on the CPU."


def test_several_mig_devices_for_one_group_of_processes_are_refused():
    sliced = replace(gpus(4), gpu_slice="nvidia.com/mig-1g.10gb")
    with pytest.raises(JobError, match="2 ranks on a node cannot train together") as caught:
        plan(script(gpus_per_node=2), sliced)
    assert caught.value.field == "resources.gpus_per_node"
    one = plan(script(), sliced)
    assert not any("mig" in warning for warning in one.warnings)
    spread = script()
    made = plan(replace(spread, resources=replace(spread.resources, nodes=2)), sliced)
    assert "NCCL connects no two of these" in made.warnings[0]
