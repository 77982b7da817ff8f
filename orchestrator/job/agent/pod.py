"""Records of agents in pods for readers that cannot see their disk: in node 0's log and in termination messages.

A line of the log that starts with PREFIX is one JSON object: {"report": ...}, {"generation": ...}, {"metrics": ...} or
{"checkpoints": ...}. A termination message is one JSON object with the report and how the agent ended; it is kept up to
date while the agent lives, since a killed agent cannot write it.
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
INTERVAL = 1.0  # seconds between two reads of the records
STEPS_INTERVAL = 10.0  # seconds between two reports that differ only in their step
LINGER = 3.0  # seconds by which node 0 outlives the others; see Pod.lingers
REPEATED = 1000  # lines of metrics from before this start: a reader may have missed the end of the log before
_BATCH = 20  # lines of metrics in one line of the log, which container runtimes cut at 16 KiB
_TRACEBACK = 6000  # characters


def status(ended: Ended) -> int:
    """The exit status of an agent in a pod."""
    return ended.code + RAISED if ended.code in (STOPPED, FAILED) else ended.code


class Pod:
    """Writes what is new. `message` is the container's termination message, `root` the checkpoint directory."""

    def __init__(self, message: Path, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._message = message
        self._options = options
        self._clock = clock
        self._root: Path | None = None
        self._nodes = 1
        self._read_at: float | None = None
        self._reported: Optional[Report] = None
        self._reported_at = 0.0
        self._generation = 0
        self._offset = 0
        self._checkpoint: Optional[CheckpointRef] = None

    def own(self, root: Path, nodes: int) -> None:
        """The checkpoint directory is this run's: its records may be written from now on."""
        self._root, self._nodes = root, nodes

    def update(self, *, now: bool = False) -> None:
        """Write what is new, at most once a second unless `now`. Node 0 does; the others only write a last record."""
        clock = self._clock()
        if self._root is None or self._options.node != 0:
            return
        if not now and self._read_at is not None and clock - self._read_at < INTERVAL:
            return
        self._read_at = clock
        with contextlib.suppress(OSError, RecordError):  # a disk that hangs or is full is judged elsewhere
            self._publish(self._root, clock)

    def end(self, ended: Ended) -> None:
        """Write the last record."""
        self.update(now=True)
        self._write(replace(self._last_record(), ended=fence.ending(self._options, ended)))

    def lingers(self, ended: Ended) -> float:
        """Seconds for which this pod must stay.

        A PyTorchJob has succeeded when node 0 has: its operator then deletes the pods that it still takes for running,
        and with them the logs of nodes that have just ended.
        """
        last = self._options.node == 0 and self._nodes > 1 and ended.code == SUCCESS
        return LINGER if last else 0.0

    def _publish(self, root: Path, clock: float) -> None:
        report = _short(reports.read_report(root))
        if report.generation != self._generation:
            self._begin(root, report.generation, report.resumed_from or 0)
        self._publish_metrics(root)
        if not self._is_news(report, clock):
            return
        before = self._reported
        if before is None or (report.result, report.success) != (before.result, before.success):
            self._publish_generations(root, report.generation)
        _log(LogRecord(report=report))
        self._reported, self._reported_at = report, clock
        if report.checkpoint != self._checkpoint:
            self._checkpoint = report.checkpoint
            _log(LogRecord(checkpoints=tuple(reports.list_checkpoints(root))))
        self._write(self._last_record())

    def _is_news(self, report: Report, clock: float) -> bool:
        """Whether to write a report now: one that differs only in its step waits for a while."""
        before = self._reported
        if before is None:
            return True
        same = replace(report, progress=replace(before.progress, steps=report.progress.steps))
        return same != before or (report != before and clock - self._reported_at >= STEPS_INTERVAL)

    def _begin(self, root: Path, generation: int, resumed: int) -> None:
        first = self._generation == 0
        self._generation, self._offset = generation, 0
        self._publish_generations(root, generation)
        if first:
            before = [line for line in reports.read_metrics(root) if line.step <= resumed]
            _log_metrics(generation, before[-REPEATED:])

    def _publish_metrics(self, root: Path) -> None:
        if self._generation:
            path = generation_dir(root, self._generation) / files.METRICS
            lines, self._offset = reports.lines_after(path, self._offset)
            _log_metrics(self._generation, lines)

    @staticmethod
    def _publish_generations(root: Path, newest: int) -> None:
        for record in reports.generations(root, max(0, newest - 2)):
            _log(LogRecord(generation=record))

    def _last_record(self) -> LastRecord:
        options = self._options
        record = LastRecord(options.node, options.attempt, options.start)
        if self._root is None:
            return record
        with contextlib.suppress(OSError, RecordError):
            owner = read(Owner, self._root / files.OWNER) or Owner()
            record = replace(record, owner=owner.run_id or None)
            record = replace(record, report=self._reported or _short(reports.read_report(self._root)))
        return record

    def _write(self, record: LastRecord) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(self._message, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                content = fit(record).encode()
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
            finally:
                os.close(descriptor)


def fit(record: LastRecord, size: int = MESSAGE_BYTES) -> str:
    """A last record as JSON of at most `size` bytes: long texts lose their middle, the longest first."""
    whole = to_json(record)
    for longest in (4000, 2000, 1200, 700, 400, 200, 100, 50):
        text = json.dumps(_shortened(whole, longest), separators=(",", ":"))
        if len(text) <= size:  # ASCII only
            return text
    least = LastRecord(record.node, record.attempt, record.start)
    return json.dumps(to_json(least), separators=(",", ":"))[:size]


def _shortened(value: object, longest: int) -> object:
    if isinstance(value, str) and len(value) > longest:
        return f"{value[: longest // 4]} ... {value[-(longest * 3 // 4) :]}"
    if isinstance(value, dict):
        return {key: _shortened(inner, longest) for key, inner in value.items()}
    return value


def _short(report: Report) -> Report:
    """Without the heartbeat, which would fill the log, and with no more of a traceback than a log line holds."""
    error = report.first_error
    if error is not None:
        error = replace(error, message=error.message[-_TRACEBACK:], traceback=error.traceback[-_TRACEBACK:])
    return replace(report, beat=0, first_error=error)


def _log_metrics(generation: int, lines: Sequence[MetricsLine]) -> None:
    for first in range(0, len(lines), _BATCH):
        _log(LogRecord(metrics=MetricsNews(generation, tuple(lines[first : first + _BATCH]))))


def _log(record: LogRecord) -> None:
    sys.stdout.write(f"{PREFIX}{json.dumps(to_json(record), separators=(',', ':'))}\n")
    sys.stdout.flush()
