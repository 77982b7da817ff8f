"""From the death of a node, and from preemption, to the next step of a training, against what Slurm itself needs.

The floor is a bare job with --requeue under the same fault, from the fault to its first line after the restart, and
with it the time that this very training takes from the start of its job to its first step. Used by bench/slurm.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from after_faults import KILLED, RUN, STEP, Times
from measure import Row

from testbeds.slurm.cluster import Cluster
from tests.slurm.lab import SlurmLab

ROUNDS = 2

Fault = Callable[[Cluster, str], None]


def measure(made: Cluster) -> list[Row]:
    return [
        _row("a node's death to the next step", made, node_dies),
        _row("preemption to the next step", made, preempted),
    ]


def _row(figure: str, made: Cluster, fault: Fault) -> Row:
    times = Times()
    for _ in range(ROUNDS):
        times.bare.append(bare(made, fault))
        made.heal()
        start, orch = under_orch(made, fault)
        times.start.append(start)
        times.orch.append(orch)
        made.heal()
    return times.row(figure, "a bare job's restart")


def bare(made: Cluster, fault: Fault) -> float:
    """Seconds from the fault to the first line that a requeued script writes.

    The quickest there is: when preemption ends its step, it asks to be requeued and does not use up the grace time.
    """
    place = made.directory("bare")
    lines = place / "lines"
    script = f"date +%s.%N >> {lines}; srun sleep 600 || scontrol requeue $SLURM_JOB_ID"
    job = made.sbatch("--requeue", "--nodes=2", "--gres=gpu:1", "--output=/dev/null", f"--wrap={script}", cwd=place)
    made.until(lambda: lines.exists() and made.state(job) == "RUNNING", hint="the bare job runs")
    time.sleep(2)
    started = time.time()
    fault(made, job)
    made.until(lambda: len(lines.read_text().split()) > 1, seconds=150, hint="the bare job is back")
    return float(lines.read_text().split()[1]) - started


def under_orch(made: Cluster, fault: Fault) -> tuple[float, float]:
    """Seconds from the job's start to its first step, and from the fault to the first step after it."""
    lab = SlurmLab(made, made.directory("orch"))
    try:
        lab.orch("submit", str(lab.job(RUN, seconds=STEP)))
        lab.until_step(RUN, 1)
        first = time.time()
        [job] = lab.scheduled(RUN)
        began = (lab.run_dir(RUN) / "attempts" / "000001" / "job").stat().st_mtime
        lab.until_step(RUN, KILLED)
        started = time.time()
        fault(made, job)
        lab.until_step(RUN, 1, generation=2)
        return first - began, time.time() - started
    finally:
        lab.orch("cancel", RUN, "--now", check=False)
        lab.kill_orch()


def node_dies(made: Cluster, job: str) -> None:
    """The slurmd of a job's second node and all that it started are killed, as when a machine goes off."""
    node = made.hosts(job)[-1]
    made.kill(node)
    for pid in made.processes(node=node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def preempted(made: Cluster, job: str) -> None:
    """A job of higher priority wants the nodes of this one."""
    nodes = made.hosts(job)
    where = (f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}", "--exclusive", "--output=/dev/null")
    made.sbatch("--partition=high", *where, "--wrap=sleep 3", cwd=made.root)
