"""`orch render` of the quickstart job for each kind of cluster.

Usage: python bench/renders.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import Row, medians_in_turns, milliseconds, table

JOB = Path(__file__).resolve().parent.parent / "examples" / "quickstart" / "job.yaml"
KINDS = ("local", "ssh", "slurm", "kubernetes")
ROUNDS = 7


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        orch = [sys.executable, "-m", "orchestrator", "render", str(JOB)]
        commands = {kind: [*orch, "-c", kind, "-o", f"{directory}/{kind}"] for kind in KINDS}
        nothing = {"nothing": [sys.executable, "-c", "pass"]}
        took = medians_in_turns(nothing | commands, rounds=ROUNDS, env={"ORCH_HOME": f"{directory}/home"})
    baseline = f"{milliseconds(took['nothing'])} (python -c pass)"
    return [
        Row(
            figure=f"orch render -c {kind}",
            measured=milliseconds(took[kind]),
            baseline=baseline,
            ratio=took[kind] / took["nothing"],
        )
        for kind in KINDS
    ]


if __name__ == "__main__":
    print(table(measure()))
