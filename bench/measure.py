"""What benchmarks share: rows of the printed table, medians, commands in turns, and the parts of one on a cluster."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        return (self.figure, self.measured, self.baseline, "" if self.ratio is None else _times(self.ratio), self.aim)


def _times(ratio: float) -> str:
    """With as many digits as tell it from nothing and from one."""
    if ratio < 0.1:
        return f"{ratio:.3f}x"
    return f"{ratio:.4f}x" if abs(ratio - 1) < 0.01 else f"{ratio:.2f}x"


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


def shown(seconds: float) -> str:
    return milliseconds(seconds) if seconds < 1 else f"{seconds:.2f} s"


def row(figure: str, measured: float, baseline: float, what: str, aim: str = "") -> Row:
    """Of two times in seconds; `what`: that of the baseline."""
    return Row(
        figure=figure,
        measured=shown(measured),
        baseline=f"{shown(baseline)} ({what})",
        ratio=measured / baseline,
        aim=aim,
    )


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(taken) for name, taken in times.items()}


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
    return medians(times)


def on_cluster(
    words: Sequence[str], parts: Sequence[str], measure: Callable[[Sequence[str]], Sequence[Row]],
    versions: Callable[[], str], *, peers: Path, unavailable: type[Exception],
) -> int:  # fmt: skip
    """Run the parts that a command line names, or all, and print their rows; the exit status.

    `peers`: where those that orch is measured beside are installed. `unavailable`: raised where no cluster can be had.
    """
    names = [word for word in words if word != "--json"] or list(parts)
    unknown = [name for name in names if name not in parts]
    if unknown or not peers.is_dir():
        missing = f"no {peers}: make bench-slurm and make bench-kubernetes install the peers"
        print(f"no benchmark {', '.join(unknown)}" if unknown else missing, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster ends with this process
    try:
        rows = measure(names)
    except unavailable as error:
        print(error, file=sys.stderr)
        return 1
    if "--json" in words:
        print(json.dumps([dataclasses.asdict(one) for one in rows], indent=2))
    else:
        print(f"{versions()}; medians, ratios are taken in one run.\n\n{table(rows)}")
    return 0
