"""What the kernel says of processes, which may end while one reads: then it is nothing."""

from __future__ import annotations

from pathlib import Path


def command(pid: int) -> bytes:
    """Each argument with a NUL behind it."""
    return _read(pid, "cmdline")


def environment(pid: int) -> bytes:
    """What it was started with: each NAME=VALUE with a NUL behind it."""
    return _read(pid, "environ")


def parent(pid: int) -> int:
    """0 where there is none."""
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""
