"""Slots: the places of an attempt's agents. A slot is used once; whether its agent lives is told by a lock, not a pid.

attempts/000001/
    submit.lock   held while an attempt is handed over or cancelled
    slot-0.json   written once the agent was started: {"pid", "host", "start"}
    lock-0        held by the agent for life, its pid and start inside
    ended-0.json  written by the agent as its last act: how it ended
    asked.json    written by the first cancel: from then on nothing is started here
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from orchestrator.job.system import lock, proc
from orchestrator.job.system.atomic import read_json, write_json
from orchestrator.model.run import Submission


class State(Enum):
    """UNUSED: nothing was ever started; BOOTING: started, does not hold its lock yet."""

    UNUSED = "unused"
    BOOTING = "booting"
    LIVE = "live"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    node: int
    state: State
    pid: int | None = None
    host: str | None = None
    end: dict[str, Any] | None = None  # what the agent wrote of its own end


def attempt_dir(submission: Submission) -> Path:
    return Path(submission.dir) / "attempts" / f"{submission.attempt:06d}"


def this_host() -> str:
    return os.uname().nodename


def lock_path(directory: Path, node: int) -> Path:
    return directory / f"lock-{node}"


def read_slot(directory: Path, node: int, start: str) -> Slot:
    """What is known of one slot. Reads the lock first: whatever an agent wrote before it ended is then there."""
    path = lock_path(directory, node)
    inside = read_json(path)
    held = bool(inside) and lock.is_held(path)
    mark = read_json(directory / f"slot-{node}.json") or {}
    host = mark.get("host")
    if held:
        return Slot(node=node, state=State.LIVE, pid=(inside or {}).get("pid"), host=host)
    if inside:
        return Slot(node=node, state=State.GONE, host=host, end=read_json(directory / f"ended-{node}.json"))
    if not mark:
        return Slot(node=node, state=State.UNUSED)
    pid = mark.get("pid")
    booting = isinstance(pid, int) and proc.carries(pid, f"ORCH_START={start}")
    return Slot(node=node, state=State.BOOTING if booting else State.GONE, pid=pid, host=host)


def write_mark(directory: Path, node: int, pid: int, start: str) -> None:
    """Record that a slot is used."""
    write_json(directory / f"slot-{node}.json", {"pid": pid, "host": this_host(), "start": start}, sync=False)
