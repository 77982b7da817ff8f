"""The bundle that `orch render` makes, run by real agents with the real trainer, and killed once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.job.checkpoints import report
from tests.job.agent.cluster import LIBRARY
from tests.job.agent.conftest import MakeCluster

pytestmark = [pytest.mark.deepspeed, pytest.mark.full]  # a rank of it dies in tests/faults/test_same_losses.py, too

STEPS = 40
JOB = {
    "name": "toy",
    "model": {
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 272,
        }
    },
    "data": {"files": "text.txt", "sequence_length": 32},
    "training": {"steps": STEPS, "global_batch": 4, "precision": "fp32"},
    "deepspeed": {"zero": 2},
    "resources": {"nodes": 2},
    "checkpoint": {"dir": "ckpt", "every": 5},
}


def test_a_rendered_job_survives_the_death_of_a_rank(make_cluster: MakeCluster, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"{number} squared is {number * number}.\n" for number in range(3000)))
    (tmp_path / "job.yaml").write_text(json.dumps(JOB))
    cluster = make_cluster("")
    bundle = tmp_path / "rendered"
    argv = [
        sys.executable,
        "-m",
        "orchestrator",
        "render",
        str(tmp_path / "job.yaml"),
        "-c",
        "local",
        "-o",
        str(bundle),
    ]
    subprocess.run(argv, check=True, env={**os.environ, "PYTHONPATH": str(LIBRARY)}, capture_output=True)
    agents = [cluster.agent(node, bundle=bundle) for node in (0, 1)]
    metrics = cluster.generation(1) / "metrics.jsonl"
    cluster.until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 7, hint="step 7")
    os.kill(cluster.rank_pid(1), signal.SIGKILL)
    assert cluster.wait(agents) == [0, 0]
    assert cluster.outcome(1)["cause"] == "rank_killed"
    assert cluster.claim(2)["resume"]["step"] in range(5, STEPS, 5)
    assert [line.step for line in report.read_metrics(cluster.root)] == list(range(1, STEPS + 1))
    said = report.read_report(cluster.root)
    assert (said.success, said.progress.step, said.progress.steps, said.state) == (True, STEPS, STEPS, "done")
    assert (cluster.root / "model" / "model.safetensors").exists()
    assert all(entry.proven for entry in report.list_checkpoints(cluster.root, verify=True))
