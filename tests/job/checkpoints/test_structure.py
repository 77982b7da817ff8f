"""Checkpoints that nobody committed, judged by structure."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.checkpoints import archives, choose
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol import files as protocol_files
from tests.job.checkpoints import history

REAL_LAYOUTS = ["stage-0", "stage-1", "stage-2", "stage-3", "pipeline"]


def _torch_file(path: Path, values: dict[str, Any]) -> None:
    """The frame of torch.save: a zip without compression with a pickle and a tensor's bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(values, protocol=2))
        archive.writestr(f"{path.stem}/data/0", b"\0" * 4096)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A Trainer's checkpoint of two ranks at ZeRO 2, at the top of a run's directory."""
    directory = tmp_path / "checkpoint-20"
    tag = directory / "global_step20"
    tag.mkdir(parents=True)
    (directory / "latest").write_text("global_step20")
    (directory / "trainer_state.json").write_text(json.dumps({"global_step": 20}))
    said = {"dp_world_size": 2, "mp_world_size": 1, "ds_config": {"zero_optimization": {"stage": 2}}}
    _torch_file(tag / "mp_rank_00_model_states.pt", said)
    for rank in (0, 1):
        _torch_file(tag / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", {})
        _torch_file(directory / f"rng_state_{rank}.pth", {})
    return directory


def test_a_whole_checkpoint_is_proven_by_structure(checkpoint: Path) -> None:
    verdict = verify(checkpoint)
    assert (verdict.proven, verdict.basis, verdict.step) == (True, "structure", 20), verdict


@pytest.mark.parametrize("size", [0, 1, 1000, 4000, -1, -30])
@pytest.mark.parametrize("name", ["global_step20/zero_pp_rank_1_mp_rank_00_optim_states.pt", "rng_state_1.pth"])
def test_a_truncated_archive_is_damaged(checkpoint: Path, name: str, size: int) -> None:
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[:size])
    assert [problem.file for problem in verify(checkpoint).problems] == [name]


def test_an_archive_with_a_hole_where_an_entry_begins_is_damaged(checkpoint: Path) -> None:
    path = checkpoint / "global_step20/zero_pp_rank_1_mp_rank_00_optim_states.pt"
    content = bytearray(path.read_bytes())
    content[:64] = b"\0" * 64
    path.write_bytes(content)
    assert "no entry" in verify(checkpoint).why


@pytest.mark.parametrize(
    "name",
    [
        "global_step20/mp_rank_00_model_states.pt",
        "global_step20/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "global_step20/zero_pp_rank_1_mp_rank_00_optim_states.pt",
        "rng_state_0.pth",
        "rng_state_1.pth",
        "trainer_state.json",
    ],
)
def test_a_missing_part_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / "training_args.bin").write_bytes(b"\x80\x02.")
    (checkpoint / name).unlink()
    problems = verify(checkpoint).problems
    assert [problem.file for problem in problems] == [name]
    assert "is missing" in problems[0].what


@pytest.mark.parametrize("content", ["", '{"global_step": 2', "[]", "{}", '{"global_step": 19}'])
def test_a_trainer_state_that_is_broken_or_of_another_step_is_damage(checkpoint: Path, content: str) -> None:
    (checkpoint / "trainer_state.json").write_text(content)
    assert [problem.file for problem in verify(checkpoint).problems] == ["trainer_state.json"]


@pytest.mark.parametrize("tag", ["global_step999", "", "..", "../checkpoint-20", "latest"])
def test_a_latest_that_names_nothing_is_damage(checkpoint: Path, tag: str) -> None:
    (checkpoint / "latest").write_text(tag)
    assert [problem.file for problem in verify(checkpoint).problems] == ["latest"]


def test_a_missing_latest_is_damage_because_deepspeed_would_start_from_scratch(checkpoint: Path) -> None:
    (checkpoint / "latest").unlink()
    assert [problem.file for problem in verify(checkpoint).problems] == ["latest"]


def test_weights_whose_size_is_not_what_their_header_says_are_damaged(checkpoint: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    assert verify(checkpoint).proven
    whole = weights.read_bytes()
    for broken in (whole[:-1], whole[:20], whole[:3], b"", whole + b"\0"):
        weights.write_bytes(broken)
        assert [problem.file for problem in verify(checkpoint).problems] == ["model.safetensors"]


def test_an_index_that_names_a_missing_shard_is_damaged(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "model-00001-of-00002.safetensors"}}'
    )
    assert "model-00001-of-00002.safetensors: not there" in verify(checkpoint).why


def test_a_pickle_is_read_without_running_any_of_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    _torch_file(tmp_path / "states.pt", {"dp_world_size": 2, "module": Evil()})
    assert archives.plain_values(tmp_path / "states.pt")["dp_world_size"] == 2
    assert not (tmp_path / "ran").exists()


def test_the_first_claim_goes_on_from_the_newest_whole_one_from_before_orch(checkpoint: Path) -> None:
    root = checkpoint.parent
    newer = root / "checkpoint-30"
    shutil.copytree(checkpoint, newer)
    made = history.claim(root, manual=False)
    assert made.resume is not None
    assert (made.resume.path, made.progress) == ("checkpoint-20", True)
    assert "says step 20, the directory's name says 30" in made.rejected[0].why


def test_what_a_script_saves_without_committing_counts_by_structure_once_it_is_sealed(checkpoint: Path) -> None:
    root = checkpoint.parent / "root"
    first = history.claim(root, manual=False)
    shutil.copytree(checkpoint, protocol_files.checkpoints_dir(root, 1) / "checkpoint-20")
    assert first.resume is None
    second = history.claim(root, manual=False)
    assert history.sealed_steps(second) == [20]
    assert second.failures == 0, "a whole checkpoint is progress"
    (root / second.sealed[0].path / "rng_state_0.pth").unlink()
    (root / second.sealed[0].path / "rng_state_1.pth").unlink()
    assert choose.choose(root).sealed == ()


def test_a_directory_that_deepspeed_saved_right_into_is_one_checkpoint(checkpoint: Path) -> None:
    root = checkpoint.parent / "root"
    history.claim(root, manual=False)
    bare = protocol_files.checkpoints_dir(root, 1)
    shutil.copytree(checkpoint / "global_step20", bare / "global_step20")
    (bare / "global_step10").mkdir()
    (bare / "latest").write_text("global_step20")
    made = history.claim(root, manual=False)
    assert made.resume is not None
    assert (made.resume.path, made.resume.step) == ("generations/000001/checkpoints/global_step20", 20)


@pytest.fixture(scope="session")
def real_saves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saves")
    script = str(Path(__file__).with_name("save.py"))
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, str(out)]
    cpu = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(argv, env={**os.environ, **cpu}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.deepspeed
@pytest.mark.parametrize("layout", REAL_LAYOUTS)
def test_every_file_of_a_real_save_is_missed_when_it_goes(real_saves: Path, layout: str) -> None:
    saved = real_saves / layout
    assert verify(saved).proven, verify(saved)
    shards = [
        path for path in saved.glob("global_step*/*.pt") if path.name != "layer_02-model_states.pt"
    ]  # no parameters
    assert len(shards) >= 1
    for shard in shards:
        content = shard.read_bytes()
        shard.unlink()
        assert [problem.file for problem in verify(saved).problems] == [shard.relative_to(saved).as_posix()]
        shard.write_bytes(content[: len(content) // 2])
        assert [problem.file for problem in verify(saved).problems] == [shard.relative_to(saved).as_posix()]
        shard.write_bytes(content)
