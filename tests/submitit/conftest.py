"""Executors, the logs of what they submit, and the agents behind a job."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.controller import autostart
from orchestrator.job.system.proc import carriers
from orchestrator.store import open_store
from orchestrator.submitit import OrchExecutor, OrchJob
from testbeds import proc

SECONDS = 90


@pytest.fixture(autouse=True)
def controller(orch_home: Path) -> Iterator[None]:
    """An idle controller would leave by itself, a while later."""
    yield
    if orch_home.exists():
        with open_store(orch_home) as store:
            assert autostart.stop(store)


@pytest.fixture
def executor(tmp_path: Path) -> OrchExecutor:
    return OrchExecutor(tmp_path / "log" / "%j")


def until(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def starts(log: Path) -> list[int]:
    """The count that each start began with."""
    return [int(line.split()[2]) for line in lines(log) if line.startswith("start")]


def agents(job: OrchJob[Any]) -> list[int]:
    """Process ids of a job's living agents."""
    command = b"orchestrator.job.agent\0"
    found = carriers(f"ORCH_HOME={os.environ['ORCH_HOME']}")
    return [pid for pid in found if command in (line := proc.command(pid)) and job.job_id.encode() in line]


def ranks(job: OrchJob[Any]) -> list[int]:
    """Process ids of the ranks of a job's newest generation."""
    [root] = job.paths.folder.glob("*_orch")
    newest = max(path for path in (root / "generations").iterdir() if path.is_dir())
    return [json.loads(path.read_text())["pid"] for path in sorted((newest / "ranks").glob("rank-?.json"))]


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)
