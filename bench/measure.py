"""What every benchmark shares: rows of the printed table, medians, and commands run in turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEADINGS = ("figure", "measured", "baseline", "ratio", "aim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `measured` and `baseline` are text with their unit; `ratio` is measured by baseline, in this run."""

    figure: str
    measured: str
    baseline: str = ""
    ratio: float | None = None
    aim: str = ""

    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.ratio is None else f"{self.ratio:.{3 if self.ratio < 0.1 else 2}f}x"
        return (self.figure, self.measured, self.baseline, ratio, self.aim)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table whose columns line up."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def seconds_of(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Wall time of one command that must succeed; its output is dropped."""
    started = time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def medians_in_turns(
    commands: Mapping[str, Sequence[str]], *, rounds: int, env: Mapping[str, str] = {}
) -> dict[str, float]:
    """Median seconds of each command. They take turns, so that a slow minute of the machine hits all alike."""
    environment = {**os.environ, **env}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, argv in commands.items():
            took = seconds_of(argv, environment)
            if turn:  # the first turn fills the caches
                times[name].append(took)
    return {name: statistics.median(taken) for name, taken in times.items()}
