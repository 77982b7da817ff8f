"""Scripts that know nothing of orch, as people have them: each goes on after each fault, from its newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.lab import Lab, kill
from tests.faults.own_scripts import SHAPES, STEPS, assert_it_went_on, keys_of, until_late

pytestmark = [pytest.mark.deepspeed, pytest.mark.timeout(400)]


def rank(lab: Lab, run: str, _: Path) -> None:
    kill(lab.rank_pids(run)[1])


def agent(lab: Lab, run: str, _: Path) -> None:
    kill(lab.processes("orchestrator.job.agent ", "--node 1")[0])


def cancel(lab: Lab, run: str, _: Path) -> None:
    lab.orch("cancel", run)
    lab.orch("wait", run, check=False)
    lab.orch("resume", run)


def everything(lab: Lab, run: str, job: Path) -> None:
    lab.kill_everything()
    assert lab.submit(job) == run


FAULTS = (rank, agent, cancel, everything)
IN_TEST = {("hf_trainer", rank)}
GRID = [
    pytest.param(
        shape, fault, marks=() if (shape, fault) in IN_TEST else pytest.mark.full, id=f"{shape}-{fault.__name__}"
    )
    for shape in SHAPES
    for fault in FAULTS
]


@pytest.mark.parametrize(("shape", "fault"), GRID)
def test_a_script_of_this_shape_goes_on_as_if_nothing_had_happened(lab: Lab, shape: str, fault) -> None:
    job = lab.job(**keys_of(lab.jobs / "code", shape))
    run = lab.submit(job)
    until_late(lab, run)
    fault(lab, run, job)
    lab.finish(run)
    assert_it_went_on(lab, run)
    assert lab.status(run)["step"] == STEPS
