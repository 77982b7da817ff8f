"""Which checkpoint a script has read by its first step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.job.agent.reading import Reading, sentence
from orchestrator.job.protocol.records import Shown, ShownCheckpoint


def shown(*found: tuple[str, int]) -> Shown:
    """Of generation 2, the newest first."""
    entries = (ShownCheckpoint(f"generations/000002/{path}", path, step, "") for path, step in found)
    return Shown(tuple(entries))


TWO = shown(("work/out/checkpoint-20", 20), ("work/out/checkpoint-10", 10))
FIXED = shown(("work/best.pt", 30), ("work/last.pt", 30), ("work/older.pt", 20))


@pytest.mark.parametrize(
    ("found", "opened", "unread"),
    [
        (shown(), [], None),
        (TWO, [], 20),
        (TWO, ["work/out/checkpoint-20/model.safetensors"], None),
        (TWO, ["work/out/checkpoint-10/trainer_state.json"], 20),
        (TWO, ["work/out/checkpoint-10/a", "work/out/checkpoint-20/global_step20/b"], None),
        (TWO, ["work/out/checkpoint-200/a", "work/train.py"], 20),
        (FIXED, ["work/last.pt"], None),  # a script knows which of its names is the right one
        (FIXED, [], 30),
    ],
)
def test_the_newest_checkpoint_must_have_been_read(tmp_path: Path, found: Shown, opened: list[str], unread: int | None):
    reading = Reading(tmp_path, found)
    for path in opened:
        reading.opened(str(tmp_path / "generations/000002" / path))
    left = reading.unread()
    assert (left.step if left else None) == unread


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("open('out/checkpoint-20/trainer_state.json')", True),
        ("os.open('out/checkpoint-20/trainer_state.json', os.O_RDONLY)", True),
        ("pathlib.Path('out/checkpoint-20/trainer_state.json').read_text()", True),
        ("os.listdir('out/checkpoint-20')", False),
        ("os.stat('out/checkpoint-20/trainer_state.json')", False),
        ("open('out/checkpoint-20/trainer_state.json', 'r+b')", True),
        ("open('out/checkpoint-20/another', 'wb')", False),
        ("open('out/checkpoint-20/trainer_state.json', 'w+b')", False),
    ],
)
def test_what_a_process_opens_is_seen(tmp_path: Path, statement: str, *, read: bool):
    checkpoint = tmp_path / "generations/000002/work/out/checkpoint-20"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    script = f"""
import os, pathlib
from orchestrator.job.agent.reading import Reading
from orchestrator.job.protocol.records import Shown, ShownCheckpoint
entry = ShownCheckpoint("generations/000002/work/out/checkpoint-20", "", 20, "")
reading = Reading(pathlib.Path({str(tmp_path)!r}), Shown((entry,)))
reading.watch()
os.chdir({str(tmp_path / "generations/000002/work")!r})
{statement}
print(reading.read is not None)
"""
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=True)
    assert done.stdout == f"{read}\n"


def test_the_error_names_the_path_as_the_script_would_and_what_loads_it(tmp_path: Path):
    (newest, _) = TWO.checkpoints
    (tmp_path / newest.path).mkdir(parents=True)
    said = sentence(tmp_path, newest, None)
    assert said.startswith("The script did not read out/checkpoint-20 (step 20), the newest whole checkpoint")
    assert "trainer.train(resume_from_checkpoint=" in said
    (entry,) = shown(("checkpoints/last.pt", 5)).checkpoints
    assert "$ORCH_CHECKPOINT_DIR/last.pt" in sentence(tmp_path, entry, 0)
    assert "torch.load(" in sentence(tmp_path, entry, 0)
