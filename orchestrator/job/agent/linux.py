"""The few things of Linux that the agent needs of its processes. Elsewhere each of them does less, and says nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def die_with_parent(parent: int | None = None) -> None:
    """This process gets SIGKILL when its parent dies; at once, when it is not the child of `parent` any more."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Processes below this one whose own parent dies become its children, so that none is lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def identity(pid: int) -> dict[str, Any]:
    """What tells process `pid` from any other, on this machine and since its boot, to whoever can see it."""
    return {"pid": pid, "ticks": _ticks(pid), "boot": _boot(), "space": _space()}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether the process with this identity has surely ended. False when it can't be seen from here."""
    if process.get("ticks") is None or process.get("boot") != _boot() or process.get("space") != _space():
        return False
    pid = int(process["pid"])
    return _ticks(pid) != process["ticks"] or not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether `pid` exists and is no zombie."""
    fields = _stat(pid)
    if fields is not None:
        return fields[0] not in "ZX"
    if _PROC.joinpath("self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; {} when it can't be read."""
    try:
        raw = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def running_processes() -> Iterator[int]:
    """All processes that can be seen and are no zombies, without this one."""
    if not _PROC.is_dir():
        return
    for entry in os.scandir(_PROC):
        if entry.name.isdigit() and int(entry.name) != os.getpid() and is_running(int(entry.name)):
            yield int(entry.name)


def kill_all(find: Callable[[], list[int]], *, seconds: float) -> list[int]:
    """SIGKILL to what `find` finds until it finds nothing. Returns what is left after `seconds`: stuck in a device."""
    end = time.monotonic() + seconds
    pause = 0.005
    while True:
        left = find()
        if not left or time.monotonic() > end:
            return left
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(pause)
        pause = min(pause * 2, 0.2)


def out_of_memory_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where it doesn't say."""
    return sum(_oom_kills(path) for path in _memory_files(_text(_PROC / "self/cgroup")))


def _memory_files(groups: str) -> Iterator[Path]:
    """Where the kernel counts such kills for the control groups in a /proc/PID/cgroup, of either version.

    Where a group is not to be found under its name, this is a container that sees its own group as the root.
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
    return sum(int(line.split()[1]) for line in _text(path).splitlines() if line.startswith("oom_kill "))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split() or None


def _ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _space() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _prctl(option: int, value: int) -> None:
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return  # not Linux
    prctl(option, ctypes.c_ulong(value), 0, 0, 0)
