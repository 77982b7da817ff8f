"""The directory of an attempt: whole bundles, one owner, secrets that nobody else can read, one first try."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from orchestrator.job.protocol.operations.attempts import (
    DeleteSecrets,
    RequestStop,
    StopRequested,
    Upload,
    Uploaded,
    UploadFile,
)
from orchestrator.job.remote import attempts

FILES = (
    UploadFile("job.json", False, b"{}"),
    UploadFile("code/lib/__init__.py", False, b""),
    UploadFile("launch.sh", True, b"#!/bin/sh\n"),
)


def request(root: Path, attempt: int = 1, *, run_id: str = "0123456789ab", **secrets: str) -> Upload:
    return Upload(str(root / "runs/tiny"), attempt, "tiny", run_id, FILES, secrets)


def test_a_bundle_is_laid_down_whole_with_its_modes(tmp_path: Path) -> None:
    answer = attempts.upload(request(tmp_path))
    assert answer == Uploaded(None, first=True, job=None, asked=False)
    bundle = tmp_path / "runs/tiny/attempts/000001/bundle"
    assert (bundle / "job.json").read_bytes() == b"{}"
    assert (bundle / "launch.sh").stat().st_mode & 0o111
    assert not (bundle / "job.json").stat().st_mode & 0o111
    assert {path.name for path in bundle.parent.iterdir()} == {"bundle", "tried"}


def test_only_one_of_many_is_the_first_to_try(tmp_path: Path) -> None:
    answers: list[Uploaded] = []
    threads = [threading.Thread(target=lambda: answers.append(attempts.upload(request(tmp_path)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.first for answer in answers) == [False] * 7 + [True]
    assert {path.name for path in (tmp_path / "runs/tiny/attempts/000001").iterdir()} == {"bundle", "tried"}


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    attempts.upload(request(tmp_path))
    answer = attempts.upload(request(tmp_path, 2, run_id="ffffffffffff"))
    assert "holds another run of that name, with the id 0123456789ab" in answer.refused or ""
    assert not (tmp_path / "runs/tiny/attempts/000002/bundle").exists()
    assert not answer.first


def test_secrets_are_readable_by_their_owner_only_and_go_with_the_next_attempt(tmp_path: Path) -> None:
    attempts.upload(request(tmp_path, TOKEN="open-sesame"))
    first = tmp_path / "runs/tiny/attempts/000001/secrets.json"
    assert json.loads(first.read_text()) == {"TOKEN": "open-sesame"}
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    attempts.upload(request(tmp_path, 2, TOKEN="open-sesame"))
    assert not first.exists()
    attempts.delete_secrets(DeleteSecrets(str(tmp_path / "runs/tiny"), 2))
    assert [path for path in tmp_path.rglob("*secrets*") if path.is_file()] == []
    attempts.delete_secrets(DeleteSecrets(str(tmp_path / "runs/tiny"), 2))


def test_a_late_hand_over_of_an_older_attempt_leaves_the_newer_ones_secrets(tmp_path: Path) -> None:
    attempts.upload(request(tmp_path, 2, TOKEN="open-sesame"))
    attempts.upload(request(tmp_path, 1, TOKEN="open-sesame"))
    assert (tmp_path / "runs/tiny/attempts/000002/secrets.json").exists()


def test_after_a_cancel_nothing_is_laid_down(tmp_path: Path) -> None:
    stop = RequestStop(str(tmp_path / "runs/tiny"), 1)
    assert attempts.request_stop(stop) == StopRequested(first=True, job=None)
    assert attempts.request_stop(stop) == StopRequested(first=False, job=None)
    answer = attempts.upload(request(tmp_path, TOKEN="open-sesame"))
    assert answer == Uploaded(None, first=False, job=None, asked=True)
    assert [path.name for path in (tmp_path / "runs/tiny/attempts/000001").iterdir()] == ["asked.json"]


def test_the_job_that_claimed_an_attempt_is_told(tmp_path: Path) -> None:
    attempts.upload(request(tmp_path))
    (tmp_path / "runs/tiny/attempts/000001/job").write_text("4711\n")
    assert attempts.upload(request(tmp_path)).job == "4711"


def test_a_path_that_cannot_be_written_is_an_error_for_the_caller(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(OSError, match="Not a directory"):
        attempts.upload(request(tmp_path))
