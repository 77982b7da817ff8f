"""What the job's owner can mend ends with a sentence, on every rank, and status 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.job.training.harness import Job, ds_config

pytestmark = pytest.mark.deepspeed


def test_too_little_text_ends_with_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    job = Job(tmp_path / "job", ds_config(2), training={"global_batch": 4096})
    ranks = job.start()
    assert ranks.wait() == 1
    written = sorted((job.generation_dir / "ranks").glob("rank-?.error.json"))
    error = json.loads(written[0].read_text())  # whose launcher ends it first may come to no word
    assert (error["type"], error["cause"]) == ("DataError", "data")
    assert "one step takes 4,096 (training.global_batch)" in error["message"]
    text = ranks.text()
    assert f"error: {error['message']}" in text
    assert "packing.py" not in text


@pytest.mark.full
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"warmup_step": 3}, "TrainingArguments have no warmup_step. Is it warmup_steps?"),
        (
            {"lr_scheduler_type": "zigzag"},
            "training.args: transformers refuses them: zigzag is not a valid SchedulerType",
        ),
    ],
)
def test_arguments_that_transformers_does_not_know_are_named(
    tmp_path: Path, args: dict[str, object], message: str
) -> None:
    job = Job(tmp_path / "job", ds_config(2), training={"args": args})
    ranks = job.start(ranks=1)
    assert ranks.wait() == 1
    assert message in json.loads((job.generation_dir / "ranks" / "rank-0.error.json").read_text())["message"]


@pytest.mark.full
def test_the_lock_of_a_build_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    from torch.utils.cpp_extension import _get_build_directory

    built = Path(_get_build_directory("deepspeed_shm_comm", verbose=False))
    shutil.copytree(built, tmp_path / "extensions" / built.name, copy_function=shutil.copy2)
    (tmp_path / "extensions" / built.name / "lock").touch()
    job = Job(tmp_path / "job", ds_config(2), every_steps=None, job={"steps": 1}, extensions=tmp_path / "extensions")
    job.run()
