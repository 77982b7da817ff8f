"""A run that was killed has, from the step it resumed at, the losses it would have had anyway: bit by bit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from tests.faults.lab import Lab, kill

pytestmark = pytest.mark.deepspeed

CASES = [
    pytest.param(2, "none", marks=pytest.mark.full),  # by hand in tests/job/training, and after other faults here
    pytest.param(3, "cpu"),
    pytest.param(0, "none", marks=pytest.mark.full),
    pytest.param(1, "none", marks=pytest.mark.full),
    pytest.param(3, "none", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("zero", "offload"), CASES)
@pytest.mark.full
def test_a_run_killed_at_a_random_step_has_the_same_losses(
    lab: Lab, undisturbed: Callable[..., dict[int, float]], zero: int, offload: str
) -> None:
    expected = undisturbed(zero, offload)
    step = random.SystemRandom().randint(11, 30)
    run = lab.submit(lab.job(zero=zero, offload=offload))
    lab.until_step(run, step)
    kill(lab.rank_pids(run)[step % 2])
    lab.finish(run)
    resumed = json.loads((lab.checkpoints(run) / "generations" / "000002.json").read_text())["resume"]["step"]
    assert resumed >= 10, f"killed at step {step}, resumed from {resumed}"
    assert lab.losses(run) == expected, f"killed at step {step}, resumed from {resumed}"
