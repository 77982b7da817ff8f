"""Processes of this machine, as /proc shows them, and signals to them. Without /proc these functions do less.

A process id says nothing on another machine. What must hold across machines is a claim or a heartbeat in the
checkpoint directory, or a lease's counter in the store.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, NamedTuple

if TYPE_CHECKING:  # `orch status` reads /proc, and starts faster without the records
    from orchestrator.job.protocol.records import Process

_PROC = Path("/proc")
_READS = 10  # of an environment that is empty: a process that executes another program has none for an instant
_KTHREADD = 2  # parent of the kernel's own threads, which have no environment


class Stat(NamedTuple):
    """`start` is in clock ticks since the boot."""

    state: str
    parent: int
    start: int

    @property
    def ended(self) -> bool:
        """Whether it is a zombie: it only waits for its parent to read its exit status."""
        return self.state in "ZX"


def read(name: str) -> str:
    """The text of a file below /proc; empty where it can't be read."""
    try:
        return (_PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    fields = read(f"{pid}/stat").rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[19])) if fields else None


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    found = stat(pid)
    if found is not None or _PROC.joinpath("self").exists():
        return found is not None and not found.ended
    return send(pid, 0)


def age(pid: int) -> float:
    """Seconds since a process began; 0.0 when it is gone."""
    found, uptime = stat(pid), read("uptime").split()
    return float(uptime[0]) - found.start / os.sysconf("SC_CLK_TCK") if found and uptime else 0.0


def environment(pid: int) -> dict[str, str]:
    """The environment that a running process was started with; {} when it has ended or can't be read."""
    for _ in range(_READS):
        try:
            raw = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return {}
        if raw:
            pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if b"=" in entry)
            return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
        found = stat(pid)
        if found is None or found.ended or found.parent == _KTHREADD:
            return {}
        time.sleep(0.001)
    return {}


def carries(pid: int, mark: str) -> bool:
    """Whether a running process was started with `mark` (NAME=value) in its environment, or with NAME=value/more."""
    return _has(environment(pid), mark)


def carriers(mark: str) -> list[int]:
    """Ids of the running processes, other than this one, that carry a mark."""
    return find(lambda environment: _has(environment, mark))


def find(matches: Callable[[Mapping[str, str]], bool]) -> list[int]:
    """Ids of the running processes, other than this one, whose environment matches."""
    return [pid for pid in _others() if matches(environment(pid))]


def boot_id() -> str | None:
    """Names this kernel's present boot: processes with the same one see the same file locks. None where unknown."""
    return read("sys/kernel/random/boot_id").strip() or None


def identity(pid: int) -> Process:
    """What identifies process `pid` on this machine since its boot."""
    from orchestrator.job.protocol.records import Process

    found = stat(pid)
    return Process(pid, found.start if found else None, boot_id(), _namespace())


def is_gone(process: Process) -> bool:
    """Whether the process with this identity has surely ended. False when it can't be seen from here."""
    if process.ticks is None or process.boot != boot_id() or process.space != _namespace():
        return False
    found = stat(process.pid)
    return found is None or found.ended or found.start != process.ticks


def send(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(search: Callable[[], list[int]], *, seconds: float) -> list[int]:
    """SIGKILL what `search` finds until it finds nothing. Returns what is left after `seconds`: stuck in a device."""
    end = time.monotonic() + seconds
    pause = 0.005
    while True:
        left = search()
        if not left or time.monotonic() > end:
            return left
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.2)


def _has(environment: Mapping[str, str], mark: str) -> bool:
    name, _, value = mark.partition("=")
    found = environment.get(name)
    return found is not None and (found == value or found.startswith(f"{value}/"))


def _others() -> Iterator[int]:
    if _PROC.is_dir():
        for entry in os.scandir(_PROC):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                yield int(entry.name)


def _namespace() -> str | None:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return None
