"""What a generation's script finds: code, its own output, and of checkpoints only those that count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.checkpoints import choose, retention, view
from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.checkpoints.layout import own_places
from orchestrator.job.protocol.files import MANUAL_COMMITS, checkpoints_dir, generation_dir, work_dir
from orchestrator.job.protocol.records import Claim, Resume, Shown
from tests.job.checkpoints.test_structure import _torch_file

CLAIM = Claim(generation=1, run="a", run_id="0123", attempt=1, start="s", nodes=1, address="", port=1, time=0.0)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    code = tmp_path / "bundle" / "code"
    (code / "pkg").mkdir(parents=True)
    (code / "train.py").write_text("first")
    (code / "pkg" / "more.py").write_text("more")
    return code


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def start(root: Path, code: Path | None, **claim: Any) -> tuple[Shown, Path]:
    """The next generation, as node 0 claims it; its record, and its working directory."""
    number = 1 + len(list((root / "generations").glob("*.json")))
    found = choose.choose(root) if number > 1 and "asked" not in claim else None
    chosen = found.chosen if found else None
    made = replace(
        CLAIM,
        generation=number,
        resume=Resume(chosen.path, chosen.step) if chosen else None,
        sealed=found.sealed if found else (),
        **claim,
    )
    assert write_claim(root, made)
    checkpoints_dir(root, number).mkdir(parents=True)
    return view.lay_out(root, made, code), work_dir(root, number)


def trainer(directory: Path, step: int, *, whole: bool = True) -> None:
    checkpoint = directory / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.bin"):
        _torch_file(checkpoint / name, {})
    _torch_file(checkpoint / "pytorch_model.bin", {})
    if whole:
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))


def deepspeed(directory: Path, step: int, *, whole: bool = True) -> None:
    tag = directory / f"global_step{step}"
    tag.mkdir(parents=True)
    said = {"ds_config": {"zero_optimization": {"stage": 2}}, "dp_world_size": 2, "mp_world_size": 1}
    _torch_file(tag / "mp_rank_00_model_states.pt", said)
    for rank in range(2 if whole else 1):
        _torch_file(tag / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", {})
    (directory / "latest").write_text(f"global_step{step}")


def test_the_first_generation_finds_the_code_and_nothing_else(root, code):
    shown, work = start(root, code)
    assert sorted(path.relative_to(work).as_posix() for path in work.rglob("*")) == ["pkg", "pkg/more.py", "train.py"]
    assert (shown.checkpoints, shown.resume, shown.code) == ((), None, ("train.py", "pkg/more.py"))
    (work / "train.py").write_text("changed by the script")
    assert (code / "train.py").read_text() == "first"


def test_output_goes_on_and_a_broken_checkpoint_does_not(root, code):
    _, work = start(root, code)
    trainer(work / "out", 10)
    trainer(work / "out", 20, whole=False)
    (work / "out" / "log.txt").write_text("a line")
    (work / "runs").mkdir()
    (work / "runs" / "events").write_text("events")
    shown, work = start(root, code)
    assert [path.name for path in (work / "out").iterdir()] in (
        ["checkpoint-10", "log.txt"],
        ["log.txt", "checkpoint-10"],
    )
    assert (work / "runs" / "events").read_text() == "events"
    assert shown.resume == "generations/000002/work/out/checkpoint-10"
    assert own_places(root, 2) == []  # what was shown is not its own


def test_what_the_new_generation_writes_changes_nothing_that_was_sealed(root, code):
    _, work = start(root, code)
    trainer(work / "out", 10)
    _torch_file(work / "last.pt", {"step": 10})
    old = (work / "last.pt").read_bytes()
    _, new = start(root, code)
    _torch_file(new / "last.pt", {"step": 20})
    (new / "out" / "checkpoint-10" / "trainer_state.json").write_text("{}")
    assert (work / "last.pt").read_bytes() == old
    assert json.loads((work / "out" / "checkpoint-10" / "trainer_state.json").read_text()) == {"global_step": 10}
    assert "generations/000002/work/last.pt" in [place.path for place in own_places(root, 2)]


def test_deepspeeds_pointer_names_the_newest_tag_that_is_whole(root, code):
    _, work = start(root, code)
    deepspeed(work / "ckpt", 10)
    deepspeed(work / "ckpt", 20, whole=False)
    shown, work = start(root, code)
    assert sorted(path.name for path in (work / "ckpt").iterdir()) == ["global_step10", "latest"]
    assert (work / "ckpt" / "latest").read_text() == "global_step10"
    assert shown.resume == "generations/000002/work/ckpt"


def test_the_same_holds_for_the_checkpoint_directory(root, code):
    start(root, code)
    deepspeed(checkpoints_dir(root, 1), 10)
    deepspeed(checkpoints_dir(root, 1), 20, whole=False)
    shown, _ = start(root, code)
    assert (checkpoints_dir(root, 2) / "latest").read_text() == "global_step10"
    assert shown.resume == "generations/000002/checkpoints"


def test_checkpoints_of_several_generations_are_found_together_and_in_order_of_time(root, code):
    _, work = start(root, code)
    trainer(work / "out", 10)
    _, work = start(root, code)
    trainer(work / "out", 20)
    shown, work = start(root, code)
    assert [entry.step for entry in shown.checkpoints] == [20, 10]
    assert [entry.origin.split("/")[1] for entry in shown.checkpoints] == ["000002", "000001"]
    newest = max((work / "out").iterdir(), key=lambda path: path.stat().st_ctime_ns)
    assert newest.name == "checkpoint-20"


def test_new_code_takes_the_place_of_old_and_what_was_deleted_is_gone(root, code):
    _, work = start(root, code)
    (work / "train.py").write_text("changed by the script")
    (code / "train.py").write_text("second")
    (code / "pkg" / "more.py").unlink()
    _, work = start(root, code)
    assert (work / "train.py").read_text() == "second"
    assert not (work / "pkg" / "more.py").exists()


def test_links_of_the_script_lead_to_its_new_directory(root, code):
    _, work = start(root, code)
    trainer(work / "out", 10)
    trainer(work / "out", 20, whole=False)
    (work / "out" / "last").symlink_to("checkpoint-20")
    (work / "data").symlink_to("/usr")
    (work / "file").write_text("x")
    (work / "absolute").symlink_to(work / "file")
    _, new = start(root, code)
    assert str((new / "data").readlink()) == "/usr"
    assert (new / "absolute").resolve() == (new / "file").resolve()
    assert str((new / "out" / "last").readlink()) == "checkpoint-10"


def test_from_scratch_nothing_is_shown(root, code):
    _, work = start(root, code)
    trainer(work / "out", 10)
    shown, work = start(root, code, asked="from-scratch")
    assert (shown.checkpoints, (work / "out").exists()) == ((), False)


def test_files_of_torch_that_are_no_checkpoints_go_on_as_output(root: Path, code: Path) -> None:
    _, work = start(root, code)
    (work / "data").mkdir()
    _torch_file(work / "data" / "features.pt", {})
    (generation_dir(root, 1) / MANUAL_COMMITS).touch()
    (work / "out").mkdir()
    _torch_file(work / "out" / "best_model.pt", {})
    (work / ".last.ckpt.orch-commit.json").write_text("{}")
    assert own_places(root, 1) == [], "who commits commits checkpoints"
    assert retention.drop_unfinished(root, 1) == []
    _, work = start(root, code)
    assert (work / "data" / "features.pt").exists()
    assert (work / "out" / "best_model.pt").exists()
    assert not (work / ".last.ckpt.orch-commit.json").exists()
