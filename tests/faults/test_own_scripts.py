"""Scripts that know nothing of orch, as people have them: each goes on after each fault, from its newest checkpoint."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.faults.lab import Lab, kill

pytestmark = [pytest.mark.deepspeed, pytest.mark.timeout(400)]

SCRIPTS = Path(__file__).parents[1] / "scripts"
SHAPES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
STEPS, SAVED = 24, 5  # a checkpoint after each fifth step
STEP = re.compile(r"STEP (\d+) LOSS (\S+)")


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


def steps(lab: Lab, run: str) -> list[dict[int, str]]:
    """Of each generation, what the script printed: the loss by step."""
    logs = [generation / "logs" / "rank-0.log" for generation in lab.generations(run)]
    return [{int(step): loss for step, loss in STEP.findall(log.read_text())} for log in logs if log.exists()]


@pytest.mark.parametrize(("shape", "fault"), GRID)
def test_a_script_of_this_shape_goes_on_as_if_nothing_had_happened(lab: Lab, shape: str, fault) -> None:
    code = lab.jobs / "code"
    code.mkdir()
    shutil.copy(SCRIPTS / f"{shape}.py", code / "train.py")
    words = f"python -u train.py --steps {STEPS} --pause 0.3"
    unset = dict.fromkeys(("model", "data", "training", "deepspeed"))
    job = lab.job(**unset, run=words, code="code", checkpoint={"dir": "ckpt", "keep": 3})
    run = lab.submit(job)
    lab.until(lambda: max([0, *(steps(lab, run) or [{}])[0]]) >= 12, hint="step 12")
    fault(lab, run, job)
    lab.finish(run)
    first, *later = steps(lab, run)
    assert later, "the fault had an effect"
    trained = dict(first)
    for generation in filter(None, later):
        assert min(generation) > 2 * SAVED, "no step before the newest checkpoint is made again"
        again = generation.keys() & trained.keys()
        assert {step: generation[step] for step in again} == {step: trained[step] for step in again}
        trained.update(generation)
    assert sorted(trained) == list(range(1, STEPS + 1))
    assert lab.status(run)["step"] == STEPS
