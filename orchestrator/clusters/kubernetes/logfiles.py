"""Logs of pods, stored on this machine: they outlive the pods and hold node 0's records.

$ORCH_HOME/runs/NAME/pods/000001/node-0.20261126T194056Z.1a2b3c4d.log has the lines of one pod of attempt 1, each
behind the time at which its container's runtime saw it. The last of these times is also how far the log was read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from orchestrator.clusters.kubernetes.log_records import PREFIX, RecordLog
from orchestrator.clusters.kubernetes.pods import Pod
from orchestrator.job.protocol.operations.texts import LogSource, LogTexts, ReadLogs
from orchestrator.job.system import lock

DIRECTORY = "pods"
_NAME = re.compile(r"node-(\d+)\.([0-9TZ]+)\.([0-9a-f]+)\.log")
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_ECHO = re.compile(rb"\[rank (\d+)\] ")
_TAIL = 64 * 1024  # bytes at the end of a file in which its last whole line begins, as a rule
_CHUNK = 4 * 1024 * 1024
ANSWER = 4 * 1024 * 1024  # bytes of logs that are read for one answer


class LogStore:
    """The stored logs of one run. `records` is the fold over those of node 0."""

    def __init__(self, run_dir: Path) -> None:
        self._root = run_dir / DIRECTORY
        self._offsets: dict[Path, int] = {}
        self.records = RecordLog()

    def file(self, pod: Pod) -> Path:
        """Where a pod's log is stored."""
        began = re.sub(r"[^0-9TZ]", "", pod.created)
        return (
            self._root / f"{pod.attempt:06d}" / f"node-{pod.number}.{began}.{re.sub('[^0-9a-f]', '', pod.uid)[:8]}.log"
        )

    def last(self, pod: Pod) -> bytes:
        """The time of the last whole line stored of a pod; empty if there is none."""
        return _last_time(self.file(pod))

    def add(self, pod: Pod, lines: Iterable[bytes]) -> int:
        """Append the whole lines that are later than the stored ones; answers how many. Raises OSError."""
        path = self.file(pod)
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock.holding(self._root / ".lock"):
            _cut_partial_line(path)
            last = _last_time(path)
            later = [line for line in lines if (time := _time(line)) and time > last]
            if later:
                with path.open("ab") as file:
                    file.write(b"".join(line + b"\n" for line in later))
        return len(later)

    def fold(self) -> RecordLog:
        """Node 0's records so far, including those stored since the last call."""
        for path in self.files():
            if path.name.startswith("node-0."):
                self.records.take(self._news(path))
        return self.records

    def files(self, attempt: int | None = None) -> list[Path]:
        """The stored logs of an attempt or of all, in the order of attempts, nodes and pods."""
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
                for line in _lines(whole):
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
    if zone != b"Z":  # a node uses its own time zone
        utc = datetime.fromisoformat((whole + zone).decode()).astimezone(UTC)
        whole = utc.strftime("%Y-%m-%dT%H:%M:%S").encode()
    return whole + b"." + fraction.ljust(9, b"0")


def _last_time(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            for tail in _tails(file):
                lines = tail.split(b"\n")[:-1]
                if time := next((time for line in reversed(lines) if (time := _time(line))), b""):
                    return time
    except FileNotFoundError:
        pass
    return b""


def _cut_partial_line(path: Path) -> None:
    """Remove a line that a kill has cut: it is read again."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    with path.open("rb+") as file:
        for tail in _tails(file):
            end = tail.rfind(b"\n") + 1
            if end or len(tail) == size:
                if end < len(tail):
                    file.truncate(size - len(tail) + end)
                return


def _tails(file: BinaryIO) -> Iterator[bytes]:
    """The end of a file, and longer and longer ones, up to all of it: a line may be of any length."""
    size, length = os.fstat(file.fileno()).st_size, _TAIL
    while True:
        file.seek(max(0, size - length))
        yield file.read()
        if length >= size:
            return
        length *= 8


@dataclass(slots=True)
class _Source:
    """How far one stored log was read, and how many bytes that gave by writer: the agent, and every rank."""

    number: int
    offset: int = 0
    given: dict[str, int] = field(default_factory=dict)


class Reader:
    """Answers ReadLogs from stored logs, as if every rank had a file of its own.

    It remembers where it stopped, not what it read: a request with other offsets makes it start over.
    """

    def __init__(self, answer: int = ANSWER) -> None:
        self._sources: dict[Path, _Source] = {}
        self._answer = answer

    def logs(self, store: LogStore, request: ReadLogs) -> LogTexts:
        sources: list[LogSource] = []
        texts: dict[str, bytes] = {}
        left, more = self._answer, False
        for path in store.files(request.attempt):
            source = self._source(path, request)
            content, cut = _lines_from(path, source.offset, left) if left > 0 else (b"", True)
            source.offset += len(content)
            left, more = left - len(content), more or cut
            for name, text in _parted(content, source.number).items():
                before = source.given.get(name, 0)
                source.given[name] = before + len(text)
                virtual = _virtual(path, name)
                news = text[max(0, request.offsets.get(virtual, 0) - before) :]
                if news and _is_wanted(name, request):
                    texts[virtual] = news
            section = f"attempt {request.attempt}, {path.name.split('.')[0].replace('-', ' ')}"
            for name in sorted(source.given):
                kind, _, number = name.partition(" ")
                sources.append(LogSource(_virtual(path, name), kind, int(number), section))
        return LogTexts(tuple(sources), texts, more=more, streams=request.follow)

    def _source(self, path: Path, request: ReadLogs) -> _Source:
        """Where to read on in a file; its beginning if the asker has not had all that was given."""
        source = self._sources.get(path)
        if source is None or any(
            request.offsets.get(_virtual(path, name), 0) < given
            for name, given in source.given.items()
            if _is_wanted(name, request)
        ):
            match = _NAME.fullmatch(path.name)
            assert match is not None
            source = self._sources[path] = _Source(int(match[1]))
        return source


def _lines(content: bytes) -> list[bytes]:
    """Of whole lines. A carriage return does not end a line: progress bars use them."""
    return content.split(b"\n")[:-1]


def _virtual(path: Path, name: str) -> str:
    return f"{path}#{name}"


def _is_wanted(name: str, request: ReadLogs) -> bool:
    return request.rank is None or name == f"rank {request.rank}"


def _lines_from(path: Path, offset: int, most: int) -> tuple[bytes, bool]:
    """Whole lines of a file, and whether there is more than that. A line that is longer than `most` comes whole."""
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(most)
        if len(content) < most:
            return content[: content.rfind(b"\n") + 1], False
        if not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1] or content + file.readline()
    return (content, True) if content.endswith(b"\n") else (b"", False)


def _parted(content: bytes, node: int) -> dict[str, bytes]:
    """Lines by their writer, without their times and without records, which are for the controller."""
    parts: dict[str, list[bytes]] = {}
    for stamped in _lines(content):
        line = stamped.partition(b" ")[2]
        if line.startswith(PREFIX):
            continue
        echo = _ECHO.match(line)
        name = f"rank {echo[1].decode()}" if echo else f"agent {node}"
        parts.setdefault(name, []).append(line[echo.end() :] if echo else line)
    return {name: b"".join(line + b"\n" for line in lines) for name, lines in parts.items()}
