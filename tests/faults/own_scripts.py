"""Scripts that know nothing of orch: as jobs, and what is expected of them after a fault."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.job.agent.launcher import free_port
from tests.faults.lab import Lab

SCRIPTS = Path(__file__).parents[1] / "scripts"
SHAPES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
STEPS, SAVED = 24, 5  # a checkpoint after each fifth step
LATEST = 12  # a fault after this step comes after two checkpoints
STEP = re.compile(r"STEP (\d+) LOSS (\S+)")


def keys_of(code: Path, shape: str, *, pause: float = 0.3) -> dict[str, Any]:
    """The keys of a job that trains a script of a shape, which is put into the directory `code`."""
    code.mkdir(exist_ok=True)
    shutil.copy(SCRIPTS / f"{shape}.py", code / "own.py")
    unset = dict.fromkeys(("model", "data", "training", "deepspeed"))
    words = f"python -u own.py --steps {STEPS} --pause {pause}"
    return {**unset, "run": words, "code": code.name, "checkpoint": {"dir": "ckpt", "keep": 3}}


def steps(lab: Lab, run: str) -> list[dict[int, str]]:
    """Of each generation, what the script printed: the loss by step."""
    logs = [generation / "logs" / "rank-0.log" for generation in lab.generations(run)]
    return [{int(step): loss for step, loss in STEP.findall(log.read_text())} for log in logs if log.exists()]


def until_late(lab: Lab, run: str) -> None:
    """Wait until the first generation has trained past its second checkpoint."""
    lab.until(lambda: max([0, *(steps(lab, run) or [{}])[0]]) >= LATEST, hint=f"step {LATEST}")


def undisturbed(shape: str, place: Path) -> dict[int, str]:
    """The loss by step of the script under plain torchrun, with as many ranks, in a directory of its own."""
    meeting = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    launcher = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", "2"]
    script = [str(SCRIPTS / f"{shape}.py"), "--steps", str(STEPS)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *script], cwd=place, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return {int(step): loss for step, loss in STEP.findall(done.stdout)}


def went_on(lab: Lab, run: str) -> dict[int, str]:
    """The losses by step. Every step was trained, none before the newest checkpoint again, those made twice alike."""
    first, *later = steps(lab, run)
    assert later, "the fault had an effect"
    trained = dict(first)
    for generation in filter(None, later):
        assert min(generation) > 2 * SAVED, "no step before the newest checkpoint is made again"
        again = generation.keys() & trained.keys()
        assert {step: generation[step] for step in again} == {step: trained[step] for step in again}
        trained.update(generation)
    assert sorted(trained) == list(range(1, STEPS + 1))
    return trained
