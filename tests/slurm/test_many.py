"""What a cluster is asked while runs wait in its queue does not grow with their number."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from testbeds.slurm.layout import NODES
from tests.slurm.lab import SlurmLab

WINDOW = 18  # seconds in which questions are counted
PAUSE = 0.5  # the profile's floor between two questions; twelve times that when nothing changes
# One process for all: what is measured comes after.
SUBMIT = """
import contextlib, io, sys
from orchestrator.cli import main
first, last, job = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for number in range(first, last):
    with contextlib.redirect_stdout(io.StringIO()):
        status = main(["submit", job, "--name", f"many-{number}"])
    if status:
        raise SystemExit(f"run {number} was not submitted: {status}")
"""


def submit(lab: SlurmLab, job: Path, first: int, last: int) -> None:
    argv = (sys.executable, "-c", SUBMIT, str(first), str(last), str(job))
    lab.cluster.run(*argv, env=lab.env, cwd=lab.jobs, timeout=200)


def queued(lab: SlurmLab) -> int:
    rows = json.loads(lab.orch("status", "--json").stdout)
    return sum(row["phase"] == "queued" for row in rows)


def quiet(lab: SlurmLab) -> None:
    """Nothing changes in the queue any more, for so long that the questions have become as rare as they get."""
    shown = ""
    for _ in range(8):
        before, shown = shown, lab.cluster.admin("squeue", "--noheader", "--all", "--format=%A %T %r")
        if shown == before:
            return
        time.sleep(40 * PAUSE)
    raise AssertionError(f"the queue goes on changing:\n{shown}")


def asked(lab: SlurmLab, runs: int) -> tuple[int, int]:
    """How often the user asked slurmctld in a window, and how often anybody looked a job up in slurmdbd."""
    lab.until(lambda: queued(lab) == runs, seconds=120, hint=f"{runs} runs are queued")
    quiet(lab)
    users, lookups = lab.cluster.rpcs_of_user(), lab.cluster.database_rpcs().get("DBD_GET_JOBS_COND", 0)
    time.sleep(WINDOW)
    lookups = lab.cluster.database_rpcs().get("DBD_GET_JOBS_COND", 0) - lookups
    return lab.cluster.rpcs_of_user() - users, lookups


@pytest.mark.timeout(400)
@pytest.mark.full  # tests/controller/test_many.py counts the questions of many runs without a Slurm
@pytest.mark.parametrize("count", [24, 60, 300])
def test_many_waiting_runs_are_no_more_questions_than_three(lab: SlurmLab, count: int) -> None:
    everything = (f"--nodes={len(NODES)}", "--exclusive", "--partition=high", "--output=/dev/null")
    lab.cluster.sbatch(*everything, "--wrap=sleep 600", cwd=lab.root)
    lab.profile(poll=PAUSE)
    job = lab.script("many", "raise SystemExit(0)")
    submit(lab, job, 0, 3)
    few, few_lookups = asked(lab, 3)
    assert few > 0, "somebody watches"
    submit(lab, job, 3, count)
    for _ in range(3):  # whose queue stirs once more is asked more often for a while
        many, many_lookups = asked(lab, count)
        if many <= few + 4:
            break
    assert many <= few + 4, (few, many)  # a squeue is two messages, and one more of them may fall into a window
    assert (few_lookups, many_lookups) == (0, 0), "accounting is asked for what has left the queue only"
