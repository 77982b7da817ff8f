"""What orch adds to a step of a script that it follows: the same job with `instrument: true` and false, in turns.

Usage: python bench/instrumented.py [ROUNDS]
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Row, milliseconds, table
from trainings import Training

LOOP = Path(__file__).resolve().parent / "loop.py"
ROUNDS = 3


def measure(rounds: int = ROUNDS) -> list[Row]:
    """The addition is the same for any step; it is taken from small ones, for it drowns in the noise of a real one."""
    small: dict[bool, list[float]] = {True: [], False: []}
    large: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            for instrument in (False, True):
                seconds = of_one(Path(directory, f"{instrument}-{number}"), instrument=instrument)
                small[instrument].append(seconds["small"])
                large[instrument].append(seconds["large"])
    added = statistics.median(small[True]) - statistics.median(small[False])
    step = statistics.median(large[False])
    return [
        Row(
            figure="a step of an instrumented script, CPU time",
            measured=f"{added * 1e6:+.0f} us",
            baseline=f"{milliseconds(step)} (instrument: false)",
            ratio=(step + added) / step,
            aim="<= 1.003x",
        )
    ]


def of_one(place: Path, *, instrument: bool) -> dict[str, float]:
    training = Training(place=place, options=[], script=LOOP)
    training.under_orch(
        "instrumented",
        run=f"loop.py {training.record}",
        resources={"nodes": 1, "gpus_per_node": 1},
        instrument=instrument,
    )
    seconds: dict[str, float] = json.loads(training.record.read_text())
    return seconds


if __name__ == "__main__":
    print(table(measure(*map(int, sys.argv[1:2]))))
