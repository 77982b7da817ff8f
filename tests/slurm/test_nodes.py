"""A node that breaks jobs is left out, by the run it broke and by others; `orch clusters` finds what there is."""

from __future__ import annotations

import json

import pytest

from testbeds.slurm.layout import NODES
from tests.slurm.lab import SlurmLab

BROKEN = f"""
import os, time
from orchestrator.training import Session
session = Session.start()
if os.environ["SLURMD_NODENAME"] == {NODES[1]!r}:
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
time.sleep(3)
session.done(1)
"""


@pytest.mark.full  # the properties of the choice are in tests/nodes, and a lost node is left out in test_submitted
def test_a_node_whose_gpu_fails_twice_is_left_out_by_this_run_and_by_the_next(lab: SlurmLab) -> None:
    run = lab.submit(lab.script("broken", BROKEN))
    status = lab.finish(run)
    assert (status["phase"], status["attempt"]) == ("succeeded", 2)
    assert len(lab.scheduled(run)) == 2
    assert NODES[1] not in lab.hosts_of_ranks(run)
    (lost,) = (event["data"] for event in lab.events(run) if event["kind"] == "lost")
    assert (lost["cause"], lost["host"]) == ("gpu_fault", NODES[1])
    assert f"{NODES[1]} is excluded (2 failures in a row" in lab.orch("events", run).stdout
    assert f"excluded     {NODES[1]}" in lab.orch("status", run).stdout
    (row,) = json.loads(lab.orch("nodes", "--json").stdout)
    assert (row["cluster"], row["node"], row["out"], row["failures"]) == ("hpc", NODES[1], True, 2)

    other = lab.submit(lab.script("other", BROKEN))
    assert lab.finish(other)["attempt"] == 1
    assert NODES[1] not in lab.hosts_of_ranks(other)

    lab.orch("nodes", "forgive", NODES[1])
    assert lab.orch("nodes", "--json").stdout == "[]\n"


@pytest.mark.full  # the properties of the choice are in tests/nodes
def test_a_node_that_is_needed_is_not_left_out(lab: SlurmLab) -> None:
    lab.orch("nodes", "exclude", NODES[0], "-c", "hpc")
    every = {"nodes": len(NODES), "gpus_per_node": 1}
    run = lab.submit(lab.script("all", BROKEN.replace(NODES[1], "none"), resources=every))
    lab.finish(run)
    assert lab.hosts_of_ranks(run) == list(NODES)


def test_a_check_says_what_slurm_says_and_a_cluster_that_was_added_is_one_to_submit_to(lab: SlurmLab) -> None:
    found = json.loads(lab.orch("clusters", "check", "hpc", "--json").stdout)
    levels = {one["what"]: one["level"] for one in found["findings"]}
    assert set(levels.values()) <= {"ok", "warning"}, found
    words = {one["what"]: one["found"] for one in found["findings"]}
    assert words["partition"].startswith(f"low: {len(NODES)} of {len(NODES)} nodes")
    assert any("Slurm starts it again" in sentence for sentence in found["can"])
    lab.orch("clusters", "add", "mine", "--kind", "slurm", "--set", f"shared_dir={lab.shared}", "--set", "device=cpu")
    rows = json.loads(lab.orch("clusters", "--json").stdout)
    (mine,) = (row["known"] for row in rows if row["name"] == "mine")
    assert (mine["partition"], mine["gpus_per_node"]) == ("low", 8)
    assert next(row["default"] for row in rows if row["name"] == "hpc")
    refused = lab.orch("clusters", "check", "--json", "mine", check=False)
    assert refused.returncode in {0, 4}
