"""Tests live in a world of their own, and one that leaves a process behind is caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import survivors

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_process_that_names_the_test_directory_is_seen(tmp_path: Path) -> None:
    process = subprocess.Popen([*SLEEP, str(tmp_path / "run")])
    try:
        assert process.pid in survivors(tmp_path, seconds=0)
    finally:
        process.kill()
        process.wait()


def test_a_process_with_the_orch_home_of_the_test_is_seen(tmp_path: Path, orch_home: Path) -> None:
    process = subprocess.Popen(SLEEP)
    try:
        assert process.pid in survivors(tmp_path, seconds=0)
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
