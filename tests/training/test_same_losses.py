"""Training that was killed and resumed goes on with the very losses of a run that nothing disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.checkpoints.verify import verify
from tests.training.harness import STEPS, Job, ds_config

pytestmark = pytest.mark.deepspeed

SAVED = 3
CASES = [
    pytest.param(2, False, id="zero2"),
    pytest.param(0, False, id="zero0", marks=pytest.mark.full),
    pytest.param(1, False, id="zero1", marks=pytest.mark.full),
    pytest.param(3, False, id="zero3", marks=pytest.mark.full),
    pytest.param(3, True, id="zero3-cpu-offload", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("stage", "offload"), CASES)
def test_losses_after_kill_and_resume_are_bit_identical(tmp_path: Path, stage: int, offload: bool) -> None:
    config = ds_config(stage, offload=offload)
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
