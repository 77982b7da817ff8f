"""A committed checkpoint: every damage is found and named, file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.job.checkpoints import manifest
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol.files import COMMIT
from tests.job.checkpoints import history


def _truncate(directory: Path) -> None:
    (directory / "global_step/shard-1.pt").write_text("one")


def _empty(directory: Path) -> None:
    (directory / "global_step/shard-1.pt").write_text("")


def _remove(directory: Path) -> None:
    (directory / "global_step/shard-1.pt").unlink()


def _flip(directory: Path) -> None:
    shard = directory / "global_step/shard-1.pt"
    shard.write_text(shard.read_text().replace("one", "oNe"))


def _replace_by_directory(directory: Path) -> None:
    (directory / "global_step/shard-1.pt").unlink()
    (directory / "global_step/shard-1.pt").mkdir()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_truncate, "is 3 bytes long"),
        (_empty, "is 0 bytes long"),
        (_remove, "is missing"),
        (_flip, "has other content"),
        (_replace_by_directory, "bytes long"),
    ],
)
def test_damage_is_named_with_its_file(tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    history.claim(tmp_path)
    directory = history.commit(tmp_path, 1, 10)
    assert verify(directory).proven
    damage(directory)
    verdict = verify(directory)
    assert not verdict.proven
    assert [problem.file for problem in verdict.problems] == ["global_step/shard-1.pt"]
    assert what in verdict.problems[0].what


def test_without_contents_only_sizes_are_compared(tmp_path: Path) -> None:
    history.claim(tmp_path)
    directory = history.commit(tmp_path, 1, 10)
    _flip(directory)
    assert verify(directory, contents=False).proven
    _truncate(directory)
    assert not verify(directory, contents=False).proven


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"step": "20", "files": {}}',
        '{"step": 20, "files": {"../../etc/passwd": {"size": 1, "sha256": "00"}}}',
        '{"step": 20, "files": {"/etc/passwd": {"size": 1, "sha256": "00"}}}',
        '{"step": 20, "files": {"latest": {"size": "1", "sha256": "00"}}}',
    ],
)
def test_a_manifest_that_makes_no_sense_proves_nothing(tmp_path: Path, content: str) -> None:
    history.claim(tmp_path)
    directory = history.save(tmp_path, 1, 20)
    (directory / COMMIT).write_text(content)
    verdict = verify(directory)
    assert not verdict.proven
    assert verdict.problems[0].file == COMMIT


def test_a_save_that_was_never_committed_is_not_proven_where_all_commit(tmp_path: Path) -> None:
    history.claim(tmp_path)
    verdict = verify(history.save(tmp_path, 1, 20))
    assert (verdict.proven, verdict.basis, verdict.step) == (False, "manifest", 20)
    assert "never finished" in verdict.why


def test_the_files_of_every_rank_go_into_one_manifest(tmp_path: Path) -> None:
    directory = history.save(tmp_path, 1, 20)
    files = {**manifest.hash_files(directory, ["latest"]), **manifest.hash_files(directory, ["global_step/shard-0.pt"])}
    manifest.write_commit(directory, step=20, generation=1, attempt=1, run_id="x", world_size=2, files=files)
    commit = manifest.read_commit(directory)
    assert commit is not None
    assert commit.files == files
    assert verify(directory).bytes == sum(entry.size for entry in files.values())


def test_a_file_that_cannot_be_read_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    directory = history.commit(tmp_path, 1, 20)
    shard = directory / "global_step/shard-1.pt"
    shard.unlink()
    shard.symlink_to(shard)
    assert "cannot be read" in verify(directory).why
