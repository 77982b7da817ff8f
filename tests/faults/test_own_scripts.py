"""Scripts that know nothing of orch, as people have them: each goes on after each fault, from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.faults.lab import Lab, kill
from tests.faults.own_scripts import SHAPES, STEPS, keys_of, undisturbed, until_late, went_on

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


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[int, str]]:
    """The losses of a script that nothing happened to, without orch."""
    return cache(lambda shape: undisturbed(shape, tmp_path_factory.mktemp(shape)))


@pytest.mark.parametrize(("shape", "fault"), GRID)
def test_a_script_of_this_shape_goes_on_as_if_nothing_had_happened(lab: Lab, reference, shape: str, fault) -> None:
    job = lab.job(**keys_of(lab.jobs / "code", shape))
    run = lab.submit(job)
    until_late(lab, run)
    fault(lab, run, job)
    lab.finish(run)
    assert went_on(lab, run) == reference(shape)
    assert lab.status(run)["step"] == STEPS


@pytest.mark.full
def test_a_script_that_is_edited_and_submitted_again_goes_on_from_its_newest_checkpoint(lab: Lab) -> None:
    code = lab.jobs / "code"
    job = lab.job(**keys_of(code, "hf_trainer"))
    run = lab.submit(job)
    until_late(lab, run)
    script = code / "own.py"
    script.write_text(f"{script.read_text()}\nprint('edited', flush=True)\n")
    refused = lab.orch("submit", str(job), check=False)
    assert refused.returncode == 2
    assert "own.py changed" in refused.stderr
    assert "--replace" in refused.stderr
    lab.orch("submit", str(job), "--replace")
    lab.finish(run)
    went_on(lab, run)
    assert lab.status(run)["attempt"] == 2
    assert "edited" in (lab.generations(run)[-1] / "logs" / "rank-0.log").read_text()
