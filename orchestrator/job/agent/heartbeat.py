"""Heartbeats: a counter that moves while an agent lives, and how long one has not moved by the reader's own clock."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, Callable, Hashable

INTERVAL = 1.0  # seconds
UNSEEN = 5.0  # seconds that count as unchanged between two reads of a value, at most


class Beat:
    """Counts in a file every second, from a thread, also while the agent verifies a large checkpoint.

    The file keeps its size and is overwritten in place, so that a full disk does not make a living node look dead.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._count = 0
        self._wake = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def move(self, path: Path) -> None:
        """Counts in `path` from now on."""
        self._path = path
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(INTERVAL)
            self._wake.clear()
            if self._path is not None:
                self._count += 1
                _overwrite(self._path, f'{{"count": {self._count:10d}}}\n'.encode())


class Stillness:
    """How long each of some values has not changed, by this process's monotonic clock; call it often.

    Of time in which this process could not read, as its file system hung or it was stopped, at most UNSEEN counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[
            Hashable, tuple[Any, float, float]
        ] = {}  # the value, how long it has not changed, the last read

    def seconds(self, key: Hashable, value: Any) -> float:
        """How long `key` has had `value`; 0.0 when it is new."""
        now = self._clock()
        known, still, read = self._seen.get(key, (None, 0.0, now))
        still = still + min(now - read, UNSEEN) if key in self._seen and known == value else 0.0
        self._seen[key] = (value, still, now)
        return still


def _overwrite(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return  # the next beat comes in a second; peers judge by what they see
