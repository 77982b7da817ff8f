"""What others save: found, named by kind and step, and judged; see layouts.py for the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.job.checkpoints import choose, discover, manifest, report, retention
from orchestrator.job.checkpoints.layout import own_places
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol.files import checkpoints_dir
from orchestrator.job.protocol.operations.texts import ListCheckpoints
from orchestrator.job.remote import texts
from tests.job.checkpoints import history
from tests.job.checkpoints.layouts import LAYOUTS, Layout

BY_NAME = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("layouts")
    subprocess.run([sys.executable, str(Path(__file__).with_name("layouts.py")), str(out)], check=True)
    return out


def _seen(tree: Path) -> list[tuple[str, str, int | None, bool | None]]:
    return [(one.path, one.kind, one.step, one.proven) for one in report.list_checkpoints(tree, verify=True)]


@BY_NAME
def test_kind_step_and_verdict_are_right_for_each_and_the_newest_whole_one_is_chosen(
    trees: Path, layout: Layout
) -> None:
    tree = trees / layout.name
    assert _seen(tree) == layout.units
    newest = next(path for path, kind, _, whole in layout.units if whole and kind != "weights")
    chosen = choose.choose(tree).chosen
    assert chosen is not None
    assert chosen.path == newest


@BY_NAME
def test_a_file_that_is_missing_empty_or_cut_short_is_named(trees: Path, layout: Layout) -> None:
    path = trees / layout.name / layout.needs
    unit = trees / layout.name / layout.needs.split("/")[0]
    relative, content = layout.needs.partition("/")[2] or path.name, path.read_bytes()
    try:
        path.unlink()
        if unit != path and layout.missed:
            assert "is missing" in verify(unit).why
        for size in (0, len(content) // 2):
            path.write_bytes(content[:size])
            assert [problem.file for problem in verify(unit).problems] == [relative]
    finally:
        path.write_bytes(content)


def test_a_directory_above_says_where_there_are_some(trees: Path) -> None:
    above = texts.checkpoints(ListCheckpoints(str(trees)))
    assert above.listed == ()
    assert {str(trees / "trainer"), str(trees / "files"), str(trees / "lightning-deepspeed")} <= set(above.below)


def test_a_model_in_shards_is_listed_and_a_shard_that_is_not_there_is_named(trees: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors.index.json", "model-00001-of-00002.safetensors"):
        (tmp_path / "final").mkdir(exist_ok=True)
        shutil.copy(trees / "trainer-index" / "checkpoint-10" / name, tmp_path / "final")
    shutil.copytree(trees / "trainer" / "checkpoint-5", tmp_path / "checkpoint-5")
    for path in (tmp_path, tmp_path / "final"):
        listed = texts.checkpoints(ListCheckpoints(str(path), verify=True)).listed
        assert (listed[-1].path, listed[-1].kind, listed[-1].proven) == ("final", "weights", False)
    assert "model-00002-of-00002.safetensors: not there" in listed[-1].problems[0].what


@pytest.mark.parametrize("path", ["tags/global_step10", "linked/checkpoint-10", "files/ckpt_10.pt", "own-last/last"])
def test_one_checkpoint_alone_is_listed_by_its_path(trees: Path, path: str) -> None:
    found = texts.checkpoints(ListCheckpoints(str(trees / path), verify=True))
    assert [(f"{found.base}/{one.path}", one.proven) for one in found.listed] == [(str(trees / path), True)]


def test_a_file_is_committed_verified_and_deleted_like_a_directory(tmp_path: Path) -> None:
    history.claim(tmp_path)
    paths = [checkpoints_dir(tmp_path, 1) / f"step={step}.ckpt" for step in (10, 20)]
    for path in paths:
        path.write_bytes(b"\x80 of a script's own")
        sums = manifest.hash_files(manifest.base_of(path), [path.name])
        step = int(path.stem.partition("=")[2])
        manifest.write_commit(path, step=step, generation=1, attempt=1, run_id="x", world_size=1, files=sums)
    assert [(place.step, place.committed) for place in own_places(tmp_path, 1)] == [(10, True), (20, True)]
    assert history.sealed_steps(history.claim(tmp_path)) == [20, 10]
    paths[1].write_bytes(b"\x80 of another one's own")
    assert "step=20.ckpt" in verify(paths[1]).why
    retention.delete(paths[0])
    assert sorted(path.name for path in paths[0].parent.iterdir()) == [".step=20.ckpt.orch-commit.json", "step=20.ckpt"]


def test_a_checkpoint_saved_right_into_the_checkpoint_directory_is_one(trees: Path, tmp_path: Path) -> None:
    history.claim(tmp_path, manual=False)
    shutil.copytree(trees / "accelerate-steps" / "step_10", checkpoints_dir(tmp_path, 1), dirs_exist_ok=True)
    places = own_places(tmp_path, 1)
    assert [(place.path, place.kind) for place in places] == [("generations/000001/checkpoints", "accelerate")]
    assert verify(tmp_path / places[0].path).proven


def test_torch_files_that_nothing_calls_a_checkpoint_are_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(101):
        (tmp_path / "data" / f"sample_{number}.pt").write_bytes(b"\x80")
    assert discover.find(tmp_path) == []
