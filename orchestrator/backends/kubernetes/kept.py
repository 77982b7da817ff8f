"""Logs of pods as they are kept on this machine: they outlive the pods, and carry what node 0 has told.

$ORCH_HOME/runs/NAME/pods/000001/node-0.20261126T194056Z.1a2b3c4d.log has the lines of one pod of attempt 1, each
behind the time at which its container's runtime saw it. That time is also how far the log was read: nothing else is
remembered.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import filelock
from orchestrator.backends.kubernetes.pods import Pod
from orchestrator.backends.kubernetes.told import PREFIX, Told

DIRECTORY = "pods"
_NAME = re.compile(r"node-(\d+)\.([0-9TZ]+)\.([0-9a-f]+)\.log")
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_ECHO = re.compile(rb"\[rank (\d+)\] ")
_TAIL = 64 * 1024  # bytes at the end of a file in which its last whole line begins
_CHUNK = 4 * 1024 * 1024
ANSWER = 4 * 1024 * 1024  # bytes of logs in one answer


class Kept:
    """The kept logs of one run. `told` is a fold over those of node 0."""

    def __init__(self, run_dir: Path) -> None:
        self._root = run_dir / DIRECTORY
        self._offsets: dict[Path, int] = {}
        self.told = Told()

    def file(self, pod: Pod) -> Path:
        """Where a pod's log is kept."""
        began = re.sub(r"[^0-9TZ]", "", pod.created)
        return (
            self._root / f"{pod.attempt:06d}" / f"node-{pod.number}.{began}.{re.sub('[^0-9a-f]', '', pod.uid)[:8]}.log"
        )

    def last(self, pod: Pod) -> bytes:
        """The time of the last whole line that is kept of a pod; empty when none is."""
        return _last_time(self.file(pod))

    def add(self, pod: Pod, lines: Iterable[bytes]) -> int:
        """Keep whole lines that are later than those that are kept; how many. Raises OSError."""
        path = self.file(pod)
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.holding(self._root / ".lock"):
            _mend(path)
            last = _last_time(path)
            later = [line for line in lines if (time := _time(line)) and time > last]
            if later:
                with path.open("ab") as file:
                    file.write(b"".join(line + b"\n" for line in later))
        return len(later)

    def fold(self) -> Told:
        """What node 0 has told so far, with what was kept since the last call."""
        for path in self.files():
            if path.name.startswith("node-0."):
                self.told.take(self._news(path))
        return self.told

    def files(self, attempt: int | None = None) -> list[Path]:
        """The kept logs of an attempt or of all, in the order of attempts, nodes and pods."""
        place = "*" if attempt is None else f"{attempt:06d}"
        found = [path for path in self._root.glob(f"{place}/node-*.log") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_order)

    def _news(self, path: Path) -> Iterator[bytes]:
        offset = self._offsets.get(path, 0)
        if path.stat().st_size <= offset:
            return
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                whole = chunk[: chunk.rfind(b"\n") + 1]
                if not whole:
                    break
                offset += len(whole)
                file.seek(offset)
                for line in whole.splitlines():
                    yield line.partition(b" ")[2]
        self._offsets[path] = offset


def _order(path: Path) -> tuple[str, int, str]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return path.parent.name, int(match[1]), match[2]


def _time(line: bytes) -> bytes:
    """The time that a line begins with, in a form that sorts; empty when it begins with none."""
    match = _TIME.fullmatch(line.partition(b" ")[0])
    if match is None:
        return b""
    whole, fraction, zone = match[1], match[2] or b"", match[3]
    if zone != b"Z":  # a node tells its own time
        utc = datetime.fromisoformat((whole + zone).decode()).astimezone(UTC)
        whole = utc.strftime("%Y-%m-%dT%H:%M:%S").encode()
    return whole + b"." + fraction.ljust(9, b"0")


def _last_time(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return b""
    return next((time for line in reversed(lines) if (time := _time(line))), b"")


def _mend(path: Path) -> None:
    """Without a line that a kill has cut: it is read again."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    with path.open("rb+") as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)


@dataclass(slots=True)
class _Source:
    """What has been read of one kept log, parted by who wrote it: the agent, and each rank of its node."""

    number: int
    offset: int = 0
    texts: dict[str, bytes] = field(default_factory=dict)


class Reader:
    """Answers the site operation `logs` from kept logs, as if every rank had a file of its own."""

    def __init__(self) -> None:
        self._sources: dict[Path, _Source] = {}

    def logs(self, kept: Kept, request: Any) -> dict[str, Any]:
        sources: list[dict[str, Any]] = []
        texts: dict[str, str] = {}
        left = ANSWER
        for path in kept.files(request["attempt"]):
            for name, text in sorted(self._parted(path).items()):
                kind, _, number = name.partition(" ")
                virtual = f"{path}#{name}"
                section = f"attempt {request['attempt']}, {path.name.split('.')[0].replace('-', ' ')}"
                sources.append({"path": virtual, "kind": kind, "number": int(number), "section": section})
                if request["rank"] is None or (kind, int(number)) == ("rank", request["rank"]):
                    offset = request["offsets"].get(virtual, 0)
                    content = text[offset : offset + left]
                    left -= len(content)
                    if content:
                        texts[virtual] = base64.b64encode(content).decode("ascii")
        return {"sources": sources, "texts": texts, "more": left == 0}

    def _parted(self, path: Path) -> dict[str, bytes]:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        source = self._sources.setdefault(path, _Source(int(match[1])))
        with path.open("rb") as file:
            file.seek(source.offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        source.offset += len(whole)
        parts: dict[str, list[bytes]] = {}
        for stamped in whole.splitlines():
            line = stamped.partition(b" ")[2]
            if line.startswith(PREFIX):
                continue
            echo = _ECHO.match(line)
            name = f"rank {echo[1].decode()}" if echo else f"agent {source.number}"
            parts.setdefault(name, []).append(line[echo.end() :] if echo else line)
        for name, lines in parts.items():
            source.texts[name] = source.texts.get(name, b"") + b"".join(line + b"\n" for line in lines)
        return source.texts
