"""Linux process primitives (subreaper, parent-death signal, memory kills). Elsewhere they silently do less."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Iterator

from orchestrator.job.system import proc

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int | None = None) -> None:
    """This process gets SIGKILL when its parent dies; at once, when it is not the child of `parent` any more."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Processes below this one whose own parent dies become its children, so that none is lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def out_of_memory_kills() -> int:
    """How many processes of this control group the kernel has killed for lack of memory; 0 if unknown."""
    return sum(_oom_kills(path) for path in _memory_files(proc.read("self/cgroup")))


def _memory_files(groups: str) -> Iterator[Path]:
    """Where the kernel counts such kills for the control groups in a process's `cgroup` file, of either version.

    A container that has no group of that name sees its own group as the root.
    """
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield _own(Path("/sys/fs/cgroup"), group, "memory.events")
        elif "memory" in controllers.split(","):
            yield _own(Path("/sys/fs/cgroup/memory"), group, "memory.oom_control")


def _own(root: Path, group: str, name: str) -> Path:
    named = root / group.lstrip("/") / name
    return named if named.exists() else root / name


def _oom_kills(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _prctl(option: int, value: int) -> None:
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return  # not Linux
    prctl(option, ctypes.c_ulong(value), 0, 0, 0)
