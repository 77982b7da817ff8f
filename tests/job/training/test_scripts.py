"""The example scripts: a user's own Trainer and a pipeline go on after a kill with the losses of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.agent.launcher import free_port
from orchestrator.job.checkpoints.verify import verify
from tests.job.training.harness import ROOT, Job, ds_config

pytestmark = pytest.mark.deepspeed

STEPS = 8
OWN = str(ROOT / "examples" / "own-script" / "train.py")
PIPELINE = str(ROOT / "examples" / "pipeline" / "train.py")


def own_config() -> dict[str, Any]:
    filled_by_the_trainer = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    return {**ds_config(2), **dict.fromkeys(filled_by_the_trainer, "auto")}


def pipeline_config() -> dict[str, Any]:
    lines = Path(PIPELINE).with_name("ds_config.json").read_text().splitlines()
    config: dict[str, Any] = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
    return config


def same_after_kill(tmp_path: Path, config: dict[str, Any], *command: str) -> None:
    undisturbed = Job(tmp_path / "undisturbed", config, job={"steps": None, "training": None})
    undisturbed.run(*command)
    killed = Job(tmp_path / "killed", config, job={"steps": None, "training": None})
    ranks = killed.start(*command)
    checkpoint = ranks.wait_for("checkpoints/checkpoint-3/orch-commit.json").parent
    ranks.kill()
    assert verify(checkpoint).proven
    killed.resume = (checkpoint, 3)
    killed.run(*command)
    expected = undisturbed.losses()
    assert sorted(expected) == list(range(1, STEPS + 1))
    assert killed.losses() == {step: expected[step] for step in range(4, STEPS + 1)}


@pytest.mark.full
def test_a_pipeline_killed_and_resumed_has_the_same_losses(tmp_path: Path) -> None:
    same_after_kill(tmp_path, pipeline_config(), PIPELINE, "--steps", str(STEPS))


@pytest.mark.full
def test_an_own_script_killed_and_resumed_has_the_same_losses(tmp_path: Path) -> None:
    same_after_kill(tmp_path, own_config(), OWN, "--max-steps", str(STEPS))


def test_an_own_script_saves_on_all_ranks_when_one_is_asked_to_stop(tmp_path: Path) -> None:
    job = Job(tmp_path / "job", own_config(), every_steps=None, job={"steps": None, "training": None})
    ranks = job.start(OWN, "--max-steps", "100000")
    ranks.wait_for("metrics.jsonl")
    os.kill(ranks.pid(1), signal.SIGUSR1)
    assert ranks.wait() == 0, ranks.text()
    step = json.loads((job.generation_dir / "stopped.json").read_text())["step"]
    assert verify(job.generation_dir / "checkpoints" / f"checkpoint-{step}").proven
    assert not list((job.directory / "out").iterdir()), "checkpoints belong to the generation"


@pytest.mark.full
@pytest.mark.parametrize("script", [[OWN, "--max-steps", "2"], [PIPELINE, "--steps", "2"]])
def test_the_same_script_runs_by_hand_outside_orch(tmp_path: Path, script: list[str]) -> None:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, *script], cwd=tmp_path, env=env, check=True, timeout=240)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
