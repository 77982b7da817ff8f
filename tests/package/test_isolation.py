"""Tests live in a world of their own, and one that leaves a process behind is caught."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import survivors

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def _is_seen(process: subprocess.Popen[bytes], directory: Path) -> bool:
    """A process that has just been started has no command line for a moment."""
    end = time.monotonic() + 5
    while process.pid not in survivors(directory, seconds=0):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_process_that_names_the_test_directory_is_seen(tmp_path: Path) -> None:
    process = subprocess.Popen([*SLEEP, str(tmp_path / "run")])
    try:
        assert _is_seen(process, tmp_path)
    finally:
        process.kill()
        process.wait()


def test_a_process_with_the_orch_home_of_the_test_is_seen(tmp_path: Path, orch_home: Path) -> None:
    process = subprocess.Popen(SLEEP)
    try:
        assert _is_seen(process, tmp_path)
    finally:
        process.kill()
        process.wait()


def test_a_process_that_has_ended_is_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)", str(tmp_path / "run")])
    assert survivors(tmp_path, seconds=10) == {}
    process.wait()


def test_a_neighbour_whose_directory_begins_alike_is_left_alone(tmp_path: Path, orch_home: Path) -> None:
    process = subprocess.Popen([*SLEEP, f"{tmp_path}0/run"], env=os.environ | {"ORCH_HOME": f"{tmp_path}0"})
    try:
        assert survivors(tmp_path, seconds=0) == {}
    finally:
        process.kill()
        process.wait()


def test_nothing_of_the_users_own_is_in_reach(orch_home: Path) -> None:
    assert os.environ["ORCH_HOME"] == str(orch_home)
    assert Path.home().name.startswith("nobody")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
