"""Training that was killed and resumed goes on with the very losses of a run that nothing disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.checkpoints.verify import verify
from tests.job.training.harness import STEPS, Job, ds_config

pytestmark = pytest.mark.deepspeed

SAVED = 3
CASES = [
    pytest.param(ds_config(2), id="zero2"),
    pytest.param(ds_config(0), id="zero0", marks=pytest.mark.full),
    pytest.param(ds_config(1), id="zero1", marks=pytest.mark.full),
    pytest.param(ds_config(3), id="zero3", marks=pytest.mark.full),
    pytest.param(ds_config(3, offload=True), id="zero3-cpu-offload", marks=pytest.mark.full),
]


@pytest.mark.parametrize("config", CASES)
def test_losses_after_kill_and_resume_are_bit_identical(tmp_path: Path, config: dict[str, Any]) -> None:
    undisturbed = Job(tmp_path / "undisturbed", config)
    undisturbed.run()

    killed = Job(tmp_path / "killed", config, training={"log_every": 2})
    ranks = killed.start()
    checkpoint = ranks.wait_for(f"checkpoints/checkpoint-{SAVED}/orch-commit.json").parent
    ranks.kill()
    verdict = verify(checkpoint)
    assert (verdict.proven, verdict.basis, verdict.problems) == (True, "manifest", ())
    killed.resume = (checkpoint, SAVED)
    killed.run()

    expected = undisturbed.losses()
    assert sorted(expected) == list(range(1, STEPS + 1))
    # Logged every second step, from an odd one on: the figure is the step's own, whenever the last line was written.
    assert killed.losses() == {step: expected[step] for step in (4, 6, 8, 10)}
