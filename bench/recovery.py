"""From kill -9 of a rank to the next step, against the floor: the same torchrun started again by hand.

Usage: python bench/recovery.py [ROUNDS]

The floor counts from the moment in which the command is typed, so finding the death and typing are free there.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Row, table
from trainings import Training, finish

SAVED = 10
KILLED = 15
STEPS = 40
ROUNDS = 3
OPTIONS = ["--steps", str(STEPS), "--save-every", str(SAVED)]


def measure(rounds: int = ROUNDS) -> list[Row]:
    orch: list[float] = []
    floor: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            floor.append(restart_by_hand(Path(directory, f"plain-{number}")))
            orch.append(kill_under_orch(Path(directory, f"orch-{number}")))
    measured, baseline = statistics.median(orch), statistics.median(floor)
    return [
        Row(
            figure="kill -9 of a rank to its next step",
            measured=f"{measured:.2f} s",
            baseline=f"{baseline:.2f} s (torchrun again by hand)",
            ratio=measured / baseline,
            aim="<= 1.2x",
        )
    ]


def kill_under_orch(place: Path) -> float:
    """Seconds from the kill of rank 1 to the first step that the next generation finished."""
    training = Training(place=place, options=OPTIONS)
    job = training.write_job("recovery", SAVED)
    command = [sys.executable, "-m", "orchestrator", "submit", str(job), "--wait"]
    process = subprocess.Popen(command, env=training.environment, **training.talk("orch"))
    try:
        training.wait_for_step(KILLED)
        killed = time.time()
        os.kill(training.pid_of_rank("recovery", 1), signal.SIGKILL)
        back = training.wait_for_restart()
        finish(process)
    finally:
        training.end("recovery")
    return float(back["time"]) - killed


def restart_by_hand(place: Path) -> float:
    """Seconds from starting torchrun with the newest checkpoint to the first step."""
    first = Training(place=place, options=["--steps", str(SAVED), "--save-every", str(SAVED)])
    first.under_torchrun()
    checkpoint = place / "checkpoints" / f"checkpoint-{SAVED}"
    again = Training(place=place / "again", options=[*OPTIONS, "--resume-from", str(checkpoint)])
    started = time.time()
    processes = again.start_torchrun()
    back = again.wait_for_step(SAVED + 1)
    for process in processes:
        finish(process)
    return float(back["time"]) - started


if __name__ == "__main__":
    print(table(measure(*map(int, sys.argv[1:2]))))
