"""What the kernel says of processes. One that ends meanwhile has an empty answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def command(pid: int) -> bytes:
    """Each argument, followed by a NUL; empty for a zombie."""
    return _read(pid, "cmdline")


def environment(pid: int) -> bytes:
    """Each NAME=VALUE that the process was started with, followed by a NUL."""
    return _read(pid, "environ")


def parent(pid: int) -> int:
    """Its parent; 0 where there is none."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> str | None:
    """When it started, which tells it from a later process of the same id; None when it is gone."""
    fields = _stat(pid)
    return fields[19].decode() if fields else None


def others() -> Iterator[int]:
    """Ids of all processes but this one."""
    with os.scandir("/proc") as entries:
        ids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return iter([pid for pid in ids if pid != os.getpid()])


def child(pid: int) -> int | None:
    """Its first child; None while there is none."""
    return next((other for other in others() if parent(other) == pid), None)


def send(pid: int, number: int) -> None:
    """Send a signal, to nobody when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the state on."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
