"""Locks that die with their process: flock on a file, and the question whether somebody holds one.

They are to be trusted among processes of one kernel. On NFS, Linux turns them into locks of the server, which other
machines see too unless the mount says local_lock; Lustre has them per machine or not at all, by its mount. So no lock
decides between machines: for the controller the lease in the store does, for a job the claim of a generation.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def acquire(path: Path) -> int | None:
    """Take the lock without waiting; the descriptor that holds it, or None when another process does.

    The lock lasts until the descriptor is closed or the process ends, however it ends. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: Path) -> bool:
    """Whether a process holds the lock. A file that does not exist is held by nobody.

    The question takes a shared lock for an instant, so ask only about locks that were already taken once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold the lock for the length of a block, waiting for it first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
