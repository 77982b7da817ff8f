"""A host that breaks jobs is used no more while there are others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.ssh.lab import CLUSTER, SshLab

BROKEN = """
import os, time
from orchestrator.training import Session
session = Session.start()
if os.uname().nodename == "gpu2":
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
time.sleep(3)
session.done(1)
"""


@pytest.mark.full  # as tests/slurm shows it for Slurm
def test_a_host_whose_gpu_fails_twice_is_left_out_while_there_is_a_spare(make_lab: Callable[..., SshLab]) -> None:
    lab = make_lab(3)
    run = lab.submit(lab.script(BROKEN, resources={"nodes": 2, "gpus_per_node": 1}))
    status = lab.finish(run)
    assert (status["phase"], status["attempt"]) == ("succeeded", 2)
    assert (lab.hosts_of(run, 1), lab.hosts_of(run, 2)) == (["gpu1", "gpu2"], ["gpu1", "gpu3"])
    (row,) = json.loads(lab.orch("nodes", "--json").stdout)
    assert (row["cluster"], row["node"], row["out"], row["cause"]) == (CLUSTER, "gpu2", True, "gpu_fault")
    assert "gpu2 is excluded (2 failures in a row" in lab.orch("events", run).stdout
