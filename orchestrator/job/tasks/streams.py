"""What a task writes goes to the rank's log, as in every orch job, and to submitit's two files as well."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

CLOSING_SECONDS = 5.0  # a process that the function left behind may hold a stream open


class Streams:
    """Copies of descriptors 1 and 2, by a `tee` each: a process of its own outlives a crash of this one."""

    def __init__(self, stdout: Path, stderr: Path) -> None:
        """`stderr` may be the same file. Raises OSError."""
        stdout.parent.mkdir(parents=True, exist_ok=True)
        self._stderr = stderr
        self._saved = [os.dup(1), os.dup(2)]
        self._copiers = [_copy(1, stdout), _copy(2, stderr)]

    def append_error(self, text: str) -> None:
        """Appends to submitit's error file alone: the interpreter will write the same to the rank's log."""
        with contextlib.suppress(OSError), self._stderr.open("a", encoding="utf-8") as file:
            file.write(text)

    def close(self) -> None:
        """Waits until everything that was written has arrived."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # the disk is full, or the function has closed it
                stream.flush()
        for number, saved in enumerate(self._saved, 1):
            os.dup2(saved, number)
        for copier in self._copiers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                copier.wait(CLOSING_SECONDS)


def _copy(descriptor: int, file: Path) -> subprocess.Popen[bytes]:
    # A session of its own: a signal to the rank's group must not end it before it has written what is left.
    command: list[str] = ["tee", "-a", "--", str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=descriptor, start_new_session=True)
    assert process.stdin is not None
    os.dup2(process.stdin.fileno(), descriptor)
    process.stdin.close()
    return process
