"""Functions on a real Slurm, submitted by an ordinary user: two nodes, and what takes them away."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from testbeds.slurm.cluster import Cluster
from tests.slurm.lab import SlurmLab
from tests.submitit.conftest import lines, starts

# What a user writes; the first argument is a directory that all nodes see.
USE = """
import json
import sys

import functions
from submitit.core.utils import UncompletedJobError

from orchestrator.submitit import OrchExecutor

shared, what = sys.argv[1:]
executor = OrchExecutor(shared + "/log/%j", cluster="hpc")
executor.update_parameters(nodes=2, tasks_per_node=2, timeout_min=30, slurm_partition="low", name=what)


def tell(**values):
    print(json.dumps(values, default=str), flush=True)


if what == "tasks":
    who, total = executor.submit(functions.who_am_i), executor.submit(functions.sum_of_ranks)
    broken = executor.submit(functions.fail, "no good")
    error = str(broken.exception())
    tell(who=who.results(), total=total.results(), states=[who.state, broken.state], error=error)
elif what == "count":
    executor.update_parameters(tasks_per_node=1)
    job = executor.submit(functions.Counter(functions.Path(shared, "count.log"), 0.2), 100000, bonus=1000)
    tell(job=job.job_id)
    tell(results=job.results(), state=job.state)
elif what == "limit":
    executor.update_parameters(nodes=1, tasks_per_node=1, timeout_min=3)
    job = executor.submit(functions.count, functions.Path(shared, "count.log"), 100000)
    try:
        job.result()
    except UncompletedJobError as error:
        tell(state=job.state, error=str(error))
"""


@pytest.fixture
def lab(slurm_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[SlurmLab]:
    laboratory = SlurmLab(slurm_cluster, slurm_cluster.directory(request.node.name))
    (laboratory.jobs / "use.py").write_text(USE)
    shutil.copy(Path(__file__).with_name("functions.py"), laboratory.jobs)
    yield laboratory
    laboratory.kill_orch()
    slurm_cluster.heal()


class User:
    """A user's Python that submits and waits, in the background."""

    def __init__(self, lab: SlurmLab, what: str) -> None:
        self._lab = lab
        self._process = subprocess.Popen(
            [*lab.cluster.argv_prefix(lab.jobs), sys.executable, "use.py", str(lab.shared), what],
            env=lab.env,
            cwd=lab.jobs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, Any]:
        """The next line of what it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{self._process.communicate()[1]}\n{self._lab.story()}")
        value: dict[str, Any] = json.loads(line)
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_the_tasks_of_two_nodes_know_where_they_are(lab: SlurmLab) -> None:
    with User(lab, "tasks") as user:
        told = user.told()
    tasks = told["who"]
    hosts = tasks[0]["hostnames"]
    assert len(set(hosts)) == 2
    assert [(one["node"], one["local_rank"], one["global_rank"]) for one in tasks] == [
        (0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3),
    ]  # fmt: skip
    assert all((one["num_nodes"], one["num_tasks"], one["hostnames"]) == (2, 4, hosts) for one in tasks)
    assert told["total"] == [10] * 4
    assert told["states"] == ["COMPLETED", "FAILED"]
    assert "ValueError: no good" in told["error"]


@pytest.mark.timeout(300)
@pytest.mark.full
def test_a_checkpointable_survives_a_preemption_and_then_the_loss_of_a_node(lab: SlurmLab) -> None:
    log = lab.shared / "count.log"
    with User(lab, "count") as user:
        run = user.told()["job"]
        job = lab.until_scheduled(run)
        lab.until(lambda: "count 5" in lines(log), hint="it counts")
        lab.preempt(job)
        lab.until(lambda: len(starts(log)) == 2, hint="it goes on")
        stored = starts(log)[1]
        assert stored >= 5
        lab.until(lambda: f"count {stored + 3}" in lines(log), hint="it counts on")
        lab.cluster.kill(lab.cluster.hosts(job)[0])
        lab.until(lambda: len(starts(log)) == 3, hint="it goes on elsewhere")
        # The agent that was left has passed the word on, so this may be more than what the preemption had stored.
        assert starts(log)[2] >= stored
        log.with_suffix(".enough").touch()
        told = user.told()
    assert told["state"] == "COMPLETED"
    assert all(result >= 1000 + stored for result in told["results"])


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_function_that_takes_longer_than_its_limit_is_not_queued_for_ever(lab: SlurmLab) -> None:
    with User(lab, "limit") as user:
        told = user.told()
    assert told["state"] == "TIMEOUT"
    assert "Job not requeued because: timed-out and not checkpointable" in told["error"]
    assert len(starts(lab.shared / "count.log")) == 1
