"""`orch --help`, and `orch status` with 1,000 runs in the store, as multiples of `python -c pass`.

Usage: python bench/commands.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import Row, medians_in_turns, milliseconds, table

RUNS = 1000
ROUNDS = 21


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as home:
        fill_store(Path(home), RUNS)
        orch = [sys.executable, "-m", "orchestrator"]
        took = medians_in_turns(
            {
                "nothing": [sys.executable, "-c", "pass"],
                "help": [*orch, "--help"],
                "status": [*orch, "status"],
                "json": [*orch, "status", "--json"],
            },
            rounds=ROUNDS,
            env={"ORCH_HOME": home},
        )
    nothing = took["nothing"]
    baseline = f"{milliseconds(nothing)} (python -c pass)"

    def row(figure: str, name: str, aim: str = "") -> Row:
        return Row(
            figure=figure, measured=milliseconds(took[name]), baseline=baseline, ratio=took[name] / nothing, aim=aim
        )

    return [
        row("orch --help", "help", "<= 5x"),
        row(f"orch status, {RUNS:,} runs", "status", "<= 8x"),
        row(f"orch status --json, {RUNS:,} runs", "json"),
    ]


def fill_store(home: Path, runs: int) -> None:
    """A store with so many runs, nine in ten of them finished."""
    from orchestrator.store.store import open_store

    with open_store(home) as store:
        for number in range(runs):
            name = f"run-{number:04d}"
            place = str(home / "runs" / name)
            data = {
                "run_id": f"{number:012x}",
                "cluster": "local",
                "spec_digest": "0" * 64,
                "dir": place,
                "checkpoint_dir": f"{place}/ckpt",
                "metrics": f"{place}/metrics.jsonl",
            }
            store.create_run(name, data)
            reached = {"step": 60, "steps": 60, "loss": 2.5, "tokens_per_second": 4000.0}
            store.record(name, "succeeded" if number % 10 else "running", reached)


if __name__ == "__main__":
    print(table(measure()))
