"""The records that node 0 writes to its pods' logs, folded line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.job.protocol import pod
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.pod import LogRecord
from orchestrator.job.protocol.report import Listed
from orchestrator.model.run import Generation, MetricsLine, Report

PREFIX = pod.PREFIX.encode()


@dataclass(slots=True, kw_only=True)
class RecordLog:
    """The newest report, every generation by its number, and the metrics that count by their step.

    `changes` counts changes of `metrics` other than additions at the end, after which readers must start over.
    """

    report: Report | None = None
    generations: dict[int, Generation] = field(default_factory=dict)
    metrics: dict[int, MetricsLine] = field(default_factory=dict)
    checkpoints: tuple[Listed, ...] = ()
    newest: int = 0
    changes: int = 0

    def take(self, lines: Iterable[bytes]) -> None:
        """Fold lines of a log, without their time stamps; lines that are not records are skipped."""
        for line in lines:
            if line.startswith(PREFIX):
                try:
                    self._take(parse(LogRecord, line[len(PREFIX) :]))
                except RecordError:
                    continue  # cut by a kill, or of a newer version

    def _take(self, record: LogRecord) -> None:
        if record.generation is not None:
            self._generation(record.generation)
        if record.metrics is not None and record.metrics.generation >= self.newest:
            self._metrics(record.metrics.lines)
        if record.report is not None and record.report.generation >= self.newest:
            self.report = record.report
        if record.checkpoints is not None:
            self.checkpoints = record.checkpoints

    def _generation(self, record: Generation) -> None:
        number = record.generation
        if number > self.newest:
            self.newest = number
            superseded = [step for step in self.metrics if step > (record.resumed_step or 0)]
            for step in superseded:
                del self.metrics[step]
            self.changes += bool(superseded)
        known = self.generations.get(number)
        if known is None or known.result is None or record.result is not None:
            self.generations[number] = record

    def _metrics(self, lines: Iterable[MetricsLine]) -> None:
        last = max(self.metrics, default=-1)
        for line in lines:
            if self.metrics.get(line.step) == line:
                continue
            self.changes += line.step <= last
            last = max(last, line.step)
            self.metrics[line.step] = line

    def lines(self) -> list[MetricsLine]:
        """The metrics that count, in the order of steps."""
        return [self.metrics[step] for step in sorted(self.metrics)]
