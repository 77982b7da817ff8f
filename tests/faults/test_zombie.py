"""An older start wakes in the middle of its save, after a newer one has gone on: nothing it writes or prunes counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.lab import Lab

# Agents of a script without torch are woken in tests/job/agent, and real ranks that write on in tests/slurm.
pytestmark = [pytest.mark.deepspeed, pytest.mark.full]


def _start(lab: Lab, bundle: Path, run_dir: Path, attempt: int) -> subprocess.Popen[bytes]:
    """The agents of both nodes, as two machines would start them: no slot lock, no orch process; returns node 0's."""
    start = f"start-{time.monotonic_ns()}"
    with (lab.root / f"{start}.log").open("wb") as log:
        agents = [
            subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-m",
                        "orchestrator.job.agent",
                        "--bundle",
                        str(bundle),
                        "--run-dir",
                        str(run_dir),
                    ),
                    *("--node", str(node), "--attempt", str(attempt), "--start", start, "--address", "127.0.0.1"),
                ],
                env={**lab.env, "PYTHONPATH": str(bundle / "lib.zip")},
                cwd=bundle,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for node in (0, 1)
        ]
    threading.Thread(target=agents[1].wait, daemon=True).start()  # else it would stay as a zombie of this process
    return agents[0]


@pytest.mark.parametrize(
    "attempt",
    [pytest.param(2, id="older-attempt"), pytest.param(1, id="older-generation")],
)
def test_nothing_that_a_zombie_writes_or_prunes_counts(
    lab: Lab, undisturbed: Callable[..., dict[int, float]], attempt: int
) -> None:
    bundle, run_dir = lab.root / "bundle", lab.root / "run"
    lab.orch(
        "render", str(lab.job(checkpoint={"dir": "ckpt", "every": 10, "keep": 1})), "-c", "local", "-o", str(bundle)
    )
    root = run_dir / "ckpt"
    old = _start(lab, bundle, run_dir, 1)
    checkpoints = root / "generations" / "000001" / "checkpoints"
    saving = checkpoints / "checkpoint-20"
    lab.until((checkpoints / "checkpoint-10" / "orch-commit.json").exists, hint="a checkpoint")
    frozen = lab.processes("orchestrator.job.agent")
    while not saving.exists():
        time.sleep(0.001)
    for pid in reversed(frozen):  # the ranks first: a save takes a tenth of a second
        os.kill(pid, signal.SIGSTOP)
    assert not (saving / "orch-commit.json").exists(), "stopped too late to show anything"

    new = _start(lab, bundle, run_dir, attempt)
    claim = root / "generations" / "000002.json"
    lab.until(claim.exists, hint="the newer start has claimed")
    sealed = json.loads(claim.read_text())["sealed"]
    assert [entry["step"] for entry in sealed] == [10]
    metrics = root / "generations" / "000002" / "metrics.jsonl"
    lab.until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, hint="the newer start trains")
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)

    assert new.wait(timeout=120) == 0
    assert old.wait(timeout=120) != 0
    rows = json.loads(lab.orch("checkpoints", str(root), "--verify", "--json").stdout)
    counted = [row for row in rows if row["proven"]]
    assert counted
    assert all("000002" in row["path"] for row in counted), rows
    losses = {}
    for line in (root / "generations" / "000002" / "metrics.jsonl").read_text().splitlines():
        losses[json.loads(line)["step"]] = json.loads(line)["loss"]
    expected = undisturbed()
    assert losses == {step: expected[step] for step in range(11, 41)}
    lab.until(lambda: not lab.processes("orchestrator.job.agent"), seconds=180, hint="the zombie's processes end")
