"""What agents in pods tell those who cannot read their disk: in the log of node 0, and in termination messages.

A line of the log that starts with PREFIX is one JSON object: {"report": ...}, {"generation": ...}, {"metrics": ...} or
{"checkpoints": ...}. A termination message is one JSON object with the report and how the agent ended; it is kept up to
date while the agent lives, since whoever is killed writes no last word.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional, Sequence

from orchestrator.job.agent import fence
from orchestrator.job.agent.codes import FAILED, STOPPED, SUCCESS, Ended
from orchestrator.job.agent.options import Options
from orchestrator.job.checkpoints import report as reports
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.pod import PREFIX, LastRecord, LogRecord, MetricsNews
from orchestrator.job.protocol.records import Owner
from orchestrator.job.protocol.report import CheckpointRef, MetricsLine, Report

MESSAGE_BYTES = 4096  # of one container; the kubelet keeps no more
RAISED = 100  # on top of a status after which another start may help: operators read 128 and more so
INTERVAL = 1.0  # seconds between two looks at the records
STEPS_INTERVAL = 10.0  # seconds between two reports that tell of nothing but another step
LINGER = 3.0  # seconds by which node 0 outlives the others; see Pod.lingers
RETOLD = 1000  # lines of metrics from before this start: a reader may have missed the end of the log before
_BATCH = 20  # lines of metrics in one line of the log, which container runtimes cut at 16 KiB
_TRACEBACK = 6000  # characters


def status(ended: Ended) -> int:
    """The exit status of an agent in a pod."""
    return ended.code + RAISED if ended.code in (STOPPED, FAILED) else ended.code


class Pod:
    """Tells what is new. `message` is the container's termination message, `root` the checkpoint directory."""

    def __init__(self, message: Path, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._message = message
        self._options = options
        self._clock = clock
        self._root: Path | None = None
        self._nodes = 1
        self._looked: float | None = None
        self._told: Optional[Report] = None
        self._told_at = 0.0
        self._generation = 0
        self._offset = 0
        self._checkpoint: Optional[CheckpointRef] = None

    def own(self, root: Path, nodes: int) -> None:
        """The checkpoint directory is this run's: its records may be told from now on."""
        self._root, self._nodes = root, nodes

    def look(self, *, now: bool = False) -> None:
        """Tells what is new, at most once a second unless `now`. Node 0 tells; the others only leave a last word."""
        clock = self._clock()
        if self._root is None or self._options.node != 0:
            return
        if not now and self._looked is not None and clock - self._looked < INTERVAL:
            return
        self._looked = clock
        with contextlib.suppress(OSError, RecordError):  # a disk that hangs or is full is judged elsewhere
            self._tell(self._root, clock)

    def end(self, ended: Ended) -> None:
        """The last word."""
        self.look(now=True)
        self._write(replace(self._word(), ended=fence.ending(self._options, ended)))

    def lingers(self, ended: Ended) -> float:
        """Seconds that this pod must not be gone yet.

        A PyTorchJob has succeeded when node 0 has: its operator then takes away the pods that still run as far as it
        has heard, and with them the logs of nodes that have just ended.
        """
        last = self._options.node == 0 and self._nodes > 1 and ended.code == SUCCESS
        return LINGER if last else 0.0

    def _tell(self, root: Path, clock: float) -> None:
        report = _short(reports.read_report(root))
        if report.generation != self._generation:
            self._begin(root, report.generation, report.resumed_from or 0)
        self._tell_metrics(root)
        if not self._is_news(report, clock):
            return
        told = self._told
        if told is None or (report.result, report.success) != (told.result, told.success):
            self._tell_generations(root, report.generation)
        _say(LogRecord(report=report))
        self._told, self._told_at = report, clock
        if report.checkpoint != self._checkpoint:
            self._checkpoint = report.checkpoint
            _say(LogRecord(checkpoints=tuple(reports.list_checkpoints(root))))
        self._write(self._word())

    def _is_news(self, report: Report, clock: float) -> bool:
        """A report that tells of nothing but another step waits for a while."""
        told = self._told
        if told is None:
            return True
        same = replace(report, progress=replace(told.progress, steps=report.progress.steps))
        return same != told or (report != told and clock - self._told_at >= STEPS_INTERVAL)

    def _begin(self, root: Path, generation: int, resumed: int) -> None:
        first = self._generation == 0
        self._generation, self._offset = generation, 0
        self._tell_generations(root, generation)
        if first:
            before = [line for line in reports.read_metrics(root) if line.step <= resumed]
            _say_metrics(generation, before[-RETOLD:])

    def _tell_metrics(self, root: Path) -> None:
        if self._generation:
            path = generation_dir(root, self._generation) / files.METRICS
            lines, self._offset = reports.lines_after(path, self._offset)
            _say_metrics(self._generation, lines)

    @staticmethod
    def _tell_generations(root: Path, newest: int) -> None:
        for record in reports.generations(root, max(0, newest - 2)):
            _say(LogRecord(generation=record))

    def _word(self) -> LastRecord:
        options = self._options
        word = LastRecord(options.node, options.attempt, options.start)
        if self._root is None:
            return word
        with contextlib.suppress(OSError, RecordError):
            owner = read(Owner, self._root / files.OWNER) or Owner()
            word = replace(word, owner=owner.run_id or None)
            word = replace(word, report=self._told or _short(reports.read_report(self._root)))
        return word

    def _write(self, word: LastRecord) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(self._message, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                content = fit(word).encode()
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
            finally:
                os.close(descriptor)


def fit(word: LastRecord, size: int = MESSAGE_BYTES) -> str:
    """A word as JSON of at most `size` bytes: long texts lose their middle, the longest first."""
    whole = to_json(word)
    for longest in (4000, 2000, 1200, 700, 400, 200, 100, 50):
        text = json.dumps(_shortened(whole, longest), separators=(",", ":"))
        if len(text) <= size:  # ASCII only
            return text
    least = LastRecord(word.node, word.attempt, word.start)
    return json.dumps(to_json(least), separators=(",", ":"))[:size]


def _shortened(value: object, longest: int) -> object:
    if isinstance(value, str) and len(value) > longest:
        return f"{value[: longest // 4]} ... {value[-(longest * 3 // 4) :]}"
    if isinstance(value, dict):
        return {key: _shortened(inner, longest) for key, inner in value.items()}
    return value


def _short(report: Report) -> Report:
    """Without the heartbeat, which a log is no place for, and with no more of a traceback than a log line holds."""
    error = report.first_error
    if error is not None:
        error = replace(error, message=error.message[-_TRACEBACK:], traceback=error.traceback[-_TRACEBACK:])
    return replace(report, beat=0, first_error=error)


def _say_metrics(generation: int, lines: Sequence[MetricsLine]) -> None:
    for first in range(0, len(lines), _BATCH):
        _say(LogRecord(metrics=MetricsNews(generation, tuple(lines[first : first + _BATCH]))))


def _say(record: LogRecord) -> None:
    sys.stdout.write(f"{PREFIX}{json.dumps(to_json(record), separators=(',', ':'))}\n")
    sys.stdout.flush()
