"""A request to stop that reaches one rank makes all ranks save the same step, commit it and leave."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from orchestrator.job.checkpoints.verify import verify
from tests.job.training.harness import Job, ds_config

# An agent asks this trainer in tests/faults/test_grace.py, and a signal to one rank a script in test_scripts.py.
pytestmark = [pytest.mark.deepspeed, pytest.mark.full]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGUSR1, id="usr1"), pytest.param(signal.SIGTERM, id="term")])
def test_a_signal_to_one_rank_saves_on_all_and_ends_as_stopped(tmp_path: Path, number: signal.Signals) -> None:
    job = Job(tmp_path / "job", ds_config(2), every_steps=None, job={"steps": 100_000})
    ranks = job.start()
    ranks.wait_for("metrics.jsonl")
    os.kill(ranks.pid(1), number)

    assert ranks.wait() == 0, ranks.text()
    step = json.loads((job.generation_dir / "stopped.json").read_text())["step"]
    verdict = verify(job.generation_dir / "checkpoints" / f"checkpoint-{step}")
    assert (verdict.proven, verdict.step, verdict.problems) == (True, step, ())
    assert max(job.losses()) == step
    attested = [path.name for path in (job.generation_dir / "ranks").glob("*.done.json")]
    assert attested == [], "stopped is not done"
