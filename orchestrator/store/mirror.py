"""RUN/metrics.jsonl on this machine: one line for each step that counts, in the order of steps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.system import atomic
from orchestrator.model.run import Metrics, MetricsLine

FILE = "metrics.jsonl"


def write(path: Path, news: Metrics, last_step: int) -> int:
    """Lay news over the file and return its last step. `last_step` is what the call before returned, 0 at first."""
    if not news.whole:
        return _append(path, news.lines, last_step)
    content = "".join(map(_line, news.lines)).encode()
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, content, sync=False)  # made again from the store's cluster
    return max((line.step for line in news.lines), default=0)


def _append(path: Path, lines: Iterable[MetricsLine], last_step: int) -> int:
    newer = [line for line in lines if line.step > last_step]
    if newer:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write("".join(map(_line, newer)).encode())
    return max((line.step for line in newer), default=last_step)


def _line(line: MetricsLine) -> str:
    return json.dumps(to_json(line)) + "\n"
