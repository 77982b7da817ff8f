"""Scripts of people, which know nothing of orch, each as the only rank of a generation, with the real libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.job.checkpoints.verify import verify
from tests.job.training.harness import ROOT

pytestmark = pytest.mark.timeout(600)  # it imports five large libraries
COMMITTED = {  # what each script saves at step 5, where a manifest proves it
    "hf_trainer": "out/checkpoint-5",
    "accelerate_auto": "out/checkpoints/checkpoint_0",
    "fsdp_dcp": "dcp/step-5",
}
BY_STRUCTURE = {
    "lightning_last": "ckpts/last.ckpt",
    "lightning_fabric": "fabric/step-5.ckpt",
    "ddp_torch_save": "weights/step5.pt",
}
NOTES = {
    "hf_trainer": "steps, losses, proven checkpoints",
    "accelerate_auto": "accelerate 1.",
    "fsdp_dcp": "torch.distributed.checkpoint's saves are proven",
    "lightning_last": "lightning 2.",
}


QUICK = ("hf_trainer", "accelerate_auto", "ddp_torch_save")  # in the normal suite


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a script that has run; those of a group run one after another: libraries are imported once."""
    directories: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in directories:
            group = QUICK if name in QUICK else [name for name in (*COMMITTED, *BY_STRUCTURE) if name not in QUICK]
            directory = tmp_path_factory.mktemp("instrumented")
            start(directory, *group)
            directories.update({name: directory / name for name in group})
        return directories[name]

    return find


def each(*names: str) -> pytest.MarkDecorator:
    marked = [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in names]
    return pytest.mark.parametrize("name", marked)


def start(directory: Path, *names: str) -> None:
    command = [sys.executable, "-m", "tests.job.training.instrumented", str(directory), *names]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@each(*COMMITTED, *BY_STRUCTURE)
def test_a_script_runs_as_ever_and_its_steps_and_losses_are_recorded(ran: Callable[[str], Path], name: str) -> None:
    log = (ran(name) / "log").read_text()
    assert (ran(name) / "status").read_text() == "0", log
    words = [line.split() for line in log.splitlines() if line.startswith("STEP")]
    assert [int(step) for _, step, _, _ in words] == [1, 2, 3, 4, 5, 6], log
    losses = {int(step): float(loss) for _, step, _, loss in words}
    generation = ran(name) / "root/generations/000001"
    rows = lines(generation / "metrics.jsonl")
    steps = [int(str(row["step"])) for row in rows]
    assert steps, log
    assert steps == sorted(set(steps)), "one line a step, in order"
    for row in rows:
        assert row["loss"] == pytest.approx(losses[int(str(row["step"]))], rel=1e-6), (row, losses)
    assert json.loads((generation / "progress.json").read_text())["step"] >= 1


@each(*COMMITTED, *BY_STRUCTURE)
def test_the_first_step_is_told_before_it_is_taken(ran: Callable[[str], Path], name: str) -> None:
    log = (ran(name) / "log").read_text()
    assert log.count("FIRST STEP") == 1, log
    assert log.index("FIRST STEP") < log.index("STEP 2"), log


@each(*COMMITTED)
def test_what_all_ranks_save_is_proven_by_a_manifest(ran: Callable[[str], Path], name: str) -> None:
    verdict = verify(ran(name) / "root/generations/000001/work" / COMMITTED[name])
    assert (verdict.proven, verdict.basis, verdict.step) == (True, "manifest", 5), (ran(name) / "log").read_text()


@each(*BY_STRUCTURE)
def test_a_checkpoint_of_one_file_says_its_step_in_the_metrics_before_it(ran: Callable[[str], Path], name: str) -> None:
    generation = ran(name) / "root/generations/000001"
    assert (generation / "work" / BY_STRUCTURE[name]).is_file()
    assert 5 in [row["step"] for row in lines(generation / "metrics.jsonl")]


@each(*NOTES)
def test_what_is_instrumented_is_noted_once_and_only_for_what_the_script_uses(
    ran: Callable[[str], Path], name: str
) -> None:
    texts = [str(row["text"]) for row in lines(ran(name) / "root/generations/000001/notes.jsonl")]
    assert len([text for text in texts if NOTES[name] in text]) == 1, texts
    assert len(texts) == 1, texts
    assert "failed" not in (ran(name) / "log").read_text()


@pytest.mark.deepspeed
@pytest.mark.full
def test_a_loop_around_deepspeed_has_its_steps_losses_and_tags_followed(tmp_path: Path) -> None:
    start(tmp_path, "deepspeed_tags")
    name, generation = "deepspeed_tags", tmp_path / "deepspeed_tags/root/generations/000001"
    test_a_script_runs_as_ever_and_its_steps_and_losses_are_recorded(lambda name: tmp_path / name, name)
    test_the_first_step_is_told_before_it_is_taken(lambda name: tmp_path / name, name)
    verdict = verify(generation / "work/ckpt/step5")
    assert (verdict.proven, verdict.basis, verdict.step) == (True, "manifest", 5)
    (note,) = [str(row["text"]) for row in lines(generation / "notes.jsonl")]
    assert note.startswith("deepspeed 0.")
