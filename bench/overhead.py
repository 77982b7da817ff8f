"""What orch costs a training: the same script under `orch submit --wait` and under two plain torchruns, in turns.

Usage: python bench/overhead.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import Row, milliseconds, table
from trainings import Training

STEPS = 120
SETTLING = 20  # first steps of a training, which are slower
ROUNDS = 3


def measure(rounds: int = ROUNDS) -> list[Row]:
    steps: dict[str, list[float]] = {"orch": [], "plain": []}
    fixed: dict[str, list[float]] = {"orch": [], "plain": []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            for side in ("plain", "orch"):
                training = Training(place=Path(directory, f"{side}-{number}"), options=["--steps", str(STEPS)])
                wall = start(training, side)()
                times = [event["seconds"] for event in training.events("step")]
                steps[side] += times[SETTLING:]
                fixed[side].append(wall - sum(times))
    step = {side: statistics.median(times) for side, times in steps.items()}
    around = {side: statistics.median(times) for side, times in fixed.items()}
    return [
        Row(
            figure="a step under orch",
            measured=milliseconds(step["orch"]),
            baseline=f"{milliseconds(step['plain'])} (plain torchrun)",
            ratio=step["orch"] / step["plain"],
            aim="<= 1.02x",
        ),
        Row(
            figure="start and end under orch",
            measured=f"{around['orch']:.2f} s",
            baseline=f"{around['plain']:.2f} s (plain torchrun)",
            ratio=around["orch"] / around["plain"],
            aim=f"+1.5 s at most; here {around['orch'] - around['plain']:+.2f} s",
        ),
    ]


def start(training: Training, side: str) -> Callable[[], float]:
    return training.under_torchrun if side == "plain" else lambda: training.under_orch("overhead")


if __name__ == "__main__":
    print(table(measure(*map(int, sys.argv[1:2]))))
