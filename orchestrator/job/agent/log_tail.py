"""Follows the logs of this node's ranks and repeats them on the agent's stdout, each line with its origin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Mapping

_CHUNK = 1024 * 1024  # bytes per log and round: one noisy rank must not delay the agent


class LogTail:
    """Remembers how far each log was read. `logs` are paths by the label that precedes their lines."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        self._logs = dict(logs)
        self._offsets = dict.fromkeys(logs, 0)

    def pump(self, *, final: bool = False) -> None:
        """Repeats the whole lines that are new; with `final` everything that is left, whole or not."""
        wrote = False
        for label, path in self._logs.items():
            while lines := self._read(label, path, final=final):
                prefix = f"[{label}] "
                sys.stdout.write("".join(f"{prefix}{line}\n" for line in lines))
                wrote = True
                if not final:
                    break
        if wrote:
            sys.stdout.flush()

    def _read(self, label: str, path: Path, *, final: bool) -> list[str]:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets[label])
                chunk = file.read(_CHUNK)
        except OSError:
            return []
        end = chunk.rfind(b"\n") + 1
        if end == 0 and (final or len(chunk) == _CHUNK):
            end = len(chunk)
        self._offsets[label] += end
        lines = chunk[:end].decode("utf-8", "replace").split("\n")
        return [_shown(line) for line in (lines if lines[-1] else lines[:-1])]  # the last is what has no end yet


def _shown(line: str) -> str:
    """A progress bar rewrites its line: what a terminal shows of it in the end."""
    return line.rstrip("\r").rpartition("\r")[2]


def tail(path: Path, size: int = 16 * 1024) -> str:
    """The end of a log, at most `size` bytes; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
