"""What node 0 has told of a run in the logs of its pods, as a fold over its lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = b"[orch] "


@dataclass(slots=True, kw_only=True)
class RecordLog:
    """The newest report, every generation by its number, and the metrics that count by their step.

    `changes` counts those of `metrics` that were not additions at its end: whoever has read before must read anew.
    """

    report: dict[str, Any] | None = None
    generations: dict[int, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    newest: int = 0
    changes: int = 0

    def take(self, lines: Iterable[bytes]) -> None:
        """Fold lines of a log, without their time stamps; all but those that were meant for this are passed over."""
        for line in lines:
            if line.startswith(PREFIX):
                try:
                    value = json.loads(line[len(PREFIX) :])
                except ValueError:
                    continue  # cut by a kill
                if isinstance(value, dict):
                    self._take(value)

    def _take(self, value: Mapping[str, Any]) -> None:
        match value:
            case {"generation": {"generation": int(number)} as record}:
                self._generation(number, dict(record))
            case {"metrics": {"generation": int(number), "lines": list(lines)}} if number >= self.newest:
                self._metrics(lines)
            case {"report": {"generation": int(number)} as report} if number >= self.newest:
                self.report = dict(report)
            case {"checkpoints": list(found)}:
                self.checkpoints = found
            case _:
                return

    def _generation(self, number: int, record: dict[str, Any]) -> None:
        if number > self.newest:
            self.newest = number
            resumed = record.get("resumed_step") or 0
            vain = [step for step in self.metrics if step > resumed]
            for step in vain:
                del self.metrics[step]
            self.changes += bool(vain)
        known = self.generations.get(number)
        if known is None or known.get("result") is None or record.get("result") is not None:
            self.generations[number] = record

    def _metrics(self, lines: Iterable[Any]) -> None:
        last = max(self.metrics, default=-1)
        for line in lines:
            step = line.get("step") if isinstance(line, dict) else None
            if not isinstance(step, int) or self.metrics.get(step) == line:
                continue
            self.changes += step <= last
            last = max(last, step)
            self.metrics[step] = line

    def lines(self) -> list[dict[str, Any]]:
        """The metrics that count, in the order of steps."""
        return [self.metrics[step] for step in sorted(self.metrics)]
