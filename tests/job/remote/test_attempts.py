"""The directory of an attempt: whole bundles, one owner, secrets that nobody else can read, one first try."""

from __future__ import annotations

import base64
import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.remote import attempts

FILES = [
    ["job.json", False, base64.b64encode(b"{}").decode()],
    ["code/lib/__init__.py", False, ""],
    ["launch.sh", True, base64.b64encode(b"#!/bin/sh\n").decode()],
]


def request(root: Path, attempt: int = 1, **more: Any) -> dict[str, Any]:
    run = {"dir": str(root / "runs" / "tiny"), "run": "tiny", "run_id": "0123456789ab", "attempt": attempt}
    return {**run, "files": FILES, **more}


def test_a_bundle_is_laid_down_whole_with_its_modes(tmp_path: Path) -> None:
    answer = attempts.place(request(tmp_path))
    assert answer == {"refused": None, "first": True, "job": None, "asked": False}
    bundle = tmp_path / "runs/tiny/attempts/000001/bundle"
    assert (bundle / "job.json").read_bytes() == b"{}"
    assert (bundle / "launch.sh").stat().st_mode & 0o111
    assert not (bundle / "job.json").stat().st_mode & 0o111
    assert {path.name for path in bundle.parent.iterdir()} == {"bundle", "tried"}


def test_only_one_of_many_is_the_first_to_try(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: answers.append(attempts.place(request(tmp_path)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["first"] for answer in answers) == [False] * 7 + [True]
    assert {path.name for path in (tmp_path / "runs/tiny/attempts/000001").iterdir()} == {"bundle", "tried"}


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    attempts.place(request(tmp_path))
    answer = attempts.place(request(tmp_path, 2, run_id="ffffffffffff"))
    assert "holds another run of that name, with the id 0123456789ab" in answer["refused"]
    assert not (tmp_path / "runs/tiny/attempts/000002/bundle").exists()
    assert not answer["first"]


def test_secrets_are_readable_by_their_owner_only_and_go_with_the_next_attempt(tmp_path: Path) -> None:
    attempts.place(request(tmp_path, secrets={"TOKEN": "open-sesame"}))
    first = tmp_path / "runs/tiny/attempts/000001/secrets.json"
    assert json.loads(first.read_text()) == {"TOKEN": "open-sesame"}
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    attempts.place(request(tmp_path, 2, secrets={"TOKEN": "open-sesame"}))
    assert not first.exists()
    attempts.forget(request(tmp_path, 2))
    assert [path for path in tmp_path.rglob("*secrets*") if path.is_file()] == []
    attempts.forget(request(tmp_path, 2))


def test_a_late_hand_over_of_an_older_attempt_leaves_the_newer_ones_secrets(tmp_path: Path) -> None:
    attempts.place(request(tmp_path, 2, secrets={"TOKEN": "open-sesame"}))
    attempts.place(request(tmp_path, 1, secrets={"TOKEN": "open-sesame"}))
    assert (tmp_path / "runs/tiny/attempts/000002/secrets.json").exists()


def test_after_a_cancel_nothing_is_laid_down(tmp_path: Path) -> None:
    assert attempts.ask(request(tmp_path)) == {"first": True, "job": None}
    assert attempts.ask(request(tmp_path))["first"] is False
    answer = attempts.place(request(tmp_path, secrets={"TOKEN": "open-sesame"}))
    assert answer == {"refused": None, "first": False, "job": None, "asked": True}
    assert [path.name for path in (tmp_path / "runs/tiny/attempts/000001").iterdir()] == ["asked.json"]


def test_the_job_that_claimed_an_attempt_is_told(tmp_path: Path) -> None:
    attempts.place(request(tmp_path))
    (tmp_path / "runs/tiny/attempts/000001/job").write_text("4711\n")
    assert attempts.place(request(tmp_path))["job"] == "4711"


def test_a_path_that_cannot_be_written_is_an_error_for_the_caller(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(OSError, match="Not a directory"):
        attempts.place(request(tmp_path))
