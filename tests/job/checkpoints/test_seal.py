"""What an older generation writes or deletes after the next claim: nothing of it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.job.checkpoints import choose, journal, manifest, report, retention
from orchestrator.job.protocol.files import COMMIT
from tests.job.checkpoints import history


def _counted(root: Path) -> list[int]:
    return [candidate.step for candidate in choose.counted(root)]


def test_a_commit_after_the_next_claim_never_counts(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    history.save(tmp_path, 1, 20)
    made = history.claim(tmp_path)
    history.commit(tmp_path, 1, 20)
    history.commit(tmp_path, 1, 30)
    assert history.sealed_steps(made) == [10]
    assert _counted(tmp_path) == [10]
    assert history.sealed_steps(history.claim(tmp_path)) == [10]
    late = [entry for entry in report.list_checkpoints(tmp_path, verify=True) if entry.step > 10]
    assert [(entry.proven, entry.counts) for entry in late] == [(False, False)] * 2
    assert "does not count" in late[0].problems[0].what


def test_a_sealed_checkpoint_that_is_committed_anew_is_not_the_sealed_one(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    history.commit(tmp_path, 1, 20)
    history.claim(tmp_path)
    zombie = tmp_path / "generations/000001/checkpoints/checkpoint-20"
    (zombie / "latest").write_text("other")
    (zombie / COMMIT).unlink()
    files = manifest.hash_files(zombie, history.FILES)
    manifest.write_commit(zombie, step=20, generation=1, attempt=1, run_id="x", world_size=2, files=files)
    made = history.claim(tmp_path)
    assert history.sealed_steps(made) == [10]
    assert made.rejected[0].why == "was changed after it had been sealed"


def test_a_zombie_prunes_nothing_that_a_claim_sealed(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30):
        history.commit(tmp_path, 1, step)
    made = history.claim(tmp_path)
    assert retention.prune(tmp_path, 1, keep=1) == ()
    assert not journal.announce(tmp_path, 1, ["generations/000001/checkpoints/checkpoint-10"])
    assert history.sealed_steps(made) == _counted(tmp_path) == [30, 20, 10]
    assert history.sealed_steps(history.claim(tmp_path)) == [30, 20, 10]


def test_a_prune_that_was_announced_before_the_claim_is_not_sealed(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30):
        history.commit(tmp_path, 1, step)
    doomed = "generations/000001/checkpoints/checkpoint-10"
    assert journal.announce(tmp_path, 1, [doomed])  # and here the process is stopped, before it deletes
    made = history.claim(tmp_path)
    assert history.sealed_steps(made) == [30, 20]
    retention.delete(tmp_path / doomed)  # it wakes
    assert history.sealed_steps(history.claim(tmp_path)) == [30, 20]


def test_a_journal_that_is_closed_between_two_prunes_stays_closed(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30, 40):
        history.commit(tmp_path, 1, step)
    assert len(retention.prune(tmp_path, 1, keep=3)) == 1
    journal.close(tmp_path, 1)
    journal.close(tmp_path, 1)
    history.commit(tmp_path, 1, 50)
    assert retention.prune(tmp_path, 1, keep=3) == ()
    assert _counted(tmp_path) == [50, 40, 30, 20]


def test_a_claimant_can_close_the_journal_of_a_generation_that_has_not_begun(tmp_path: Path) -> None:
    journal.close(tmp_path, 7)
    assert not journal.announce(tmp_path, 7, ["generations/000007/checkpoints/checkpoint-10"])


@pytest.mark.parametrize("first", ["announce", "close"])
def test_an_unfinished_journal_entry_lets_only_one_side_go_on(tmp_path: Path, first: str) -> None:
    """Where hard links are missing an entry can be seen before it has its content."""
    history.claim(tmp_path)
    entry = tmp_path / "generations/000001/prunes/000001.json"
    entry.parent.mkdir()
    entry.touch()
    if first == "close":
        journal.close(tmp_path, 1)
        assert not journal.announce(tmp_path, 1, ["x"])
    else:
        assert journal.announce(tmp_path, 1, ["x"])
        journal.close(tmp_path, 1)
        assert journal.announced(tmp_path, 1) == {"x"}


def test_the_newest_few_stay_and_leftovers_go(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30):
        history.commit(tmp_path, 1, step)
    history.save(tmp_path, 1, 40)
    history.claim(tmp_path)
    history.save(tmp_path, 2, 35)
    history.commit(tmp_path, 2, 40)
    history.save(tmp_path, 2, 50)
    gone = retention.prune(tmp_path, 2, keep=2)
    assert sorted(Path(path).parts[1:] for path in gone) == [
        ("000001", "checkpoints", "checkpoint-10"),
        ("000001", "checkpoints", "checkpoint-20"),
        ("000001", "checkpoints", "checkpoint-40"),
        ("000002", "checkpoints", "checkpoint-35"),
    ]
    assert _counted(tmp_path) == [40, 30]
    assert (tmp_path / "generations/000002/checkpoints/checkpoint-50").exists(), "a save may be under way"


def test_keep_zero_still_keeps_the_last_proven_one(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    assert retention.prune(tmp_path, 1, keep=0) == ()


def test_a_damaged_newest_checkpoint_does_not_push_out_a_good_one(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    (history.commit(tmp_path, 1, 20) / "latest").unlink()
    retention.prune(tmp_path, 1, keep=1)
    assert (tmp_path / "generations/000001/checkpoints/checkpoint-10").exists()


def test_a_prune_that_crashed_in_the_middle_is_finished_by_the_next(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30):
        history.commit(tmp_path, 1, step)
    half = "generations/000001/checkpoints/checkpoint-10"
    assert journal.announce(tmp_path, 1, [half])
    manifest.withdraw(tmp_path / half)
    (tmp_path / half / "latest").unlink()
    history.commit(tmp_path, 1, 40)
    assert half in retention.prune(tmp_path, 1, keep=3)
    assert not (tmp_path / half).exists()


def test_checkpoints_from_before_orch_stay_and_damaged_ones_are_set_aside(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "checkpoint-10", tmp_path / "checkpoint-20"
    _foreign(whole, 10)
    shutil.copytree(whole, damaged)
    (damaged / "trainer_state.json").write_text('{"global_step": 2')
    made = history.claim(tmp_path)
    assert made.resume is not None
    assert made.resume.path == "checkpoint-10"
    assert retention.set_aside(tmp_path, made) == ["checkpoint-20"]
    assert (tmp_path / "set-aside/checkpoint-20").is_dir()
    for step in (30, 40):
        history.commit(tmp_path, 1, step)
    retention.prune(tmp_path, 1, keep=1)
    assert whole.is_dir()


def _foreign(directory: Path, step: int) -> None:
    """What the Trainer writes without DeepSpeed, as far as its frame goes."""
    directory.mkdir()
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    (directory / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (directory / name).write_bytes(b"\x80\x02.")
