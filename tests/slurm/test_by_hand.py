"""sbatch job.sbatch, as an ordinary user and with no orch process alive: what a scheduler alone can do is done."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import own_scripts
from tests.faults.lab import kill
from tests.slurm.lab import SLOW, SlurmLab, Undisturbed

pytestmark = pytest.mark.deepspeed


def saved_where_it_stopped(lab: SlurmLab) -> int:
    """The step at which the first generation was asked to stop, which is where the second goes on."""
    outcome = lab.outcomes("tiny")[0]
    assert outcome["result"] == "stopped", outcome
    claim = json.loads(lab.generations("tiny")[1].with_suffix(".json").read_text())
    assert claim["resume"]["step"] == outcome["step"], claim
    step: int = outcome["step"]
    return step


def test_an_ordinary_user_trains_without_an_environment_of_their_own(undisturbed: Undisturbed) -> None:
    lab, job = undisturbed.lab, undisturbed.job
    if reason := lab.cluster.no_user:
        pytest.skip(reason)
    assert lab.until_gone(job) == "COMPLETED"
    assert {path.owner() for path in lab.run_dir("tiny").rglob("*")} == {lab.cluster.user}
    assert lab.states(job) == ["COMPLETED"]


def _rank(lab: SlurmLab, job: str) -> None:
    kill(lab.rank_pids("tiny")[1])


def _agent(lab: SlurmLab, job: str) -> None:
    kill(lab.tasks("orchestrator.job.agent", "--node 1")[0])


def _first_agent(lab: SlurmLab, job: str) -> None:
    kill(lab.tasks("orchestrator.job.agent", "--node 0")[0])


def _requeue(lab: SlurmLab, job: str) -> None:
    lab.cluster.admin("scontrol", "requeue", job)
    lab.until_restarted(job)


def _accounting_down(lab: SlurmLab, job: str) -> None:
    lab.cluster.terminate("slurmdbd")
    _requeue(lab, job)
    lab.until(lambda: len(lab.generations("tiny")) > 1, hint="the second start trains, unaccounted")


def _killed_controller(lab: SlurmLab, job: str) -> None:
    lab.cluster.kill("slurmctld")
    kill(lab.rank_pids("tiny")[1])
    lab.until(lambda: len(lab.generations("tiny")) > 1, hint="the agents started again by themselves")
    lab.cluster.start_slurmctld()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_rank, id="rank-killed", marks=pytest.mark.full),
        pytest.param(_requeue, id="requeued-by-an-administrator", marks=pytest.mark.full),
        pytest.param(_accounting_down, id="requeued-without-accounting", marks=pytest.mark.full),
        pytest.param(_agent, id="agent-killed", marks=pytest.mark.full),
        pytest.param(_first_agent, id="first-agent-killed", marks=pytest.mark.full),
        pytest.param(_killed_controller, id="slurmctld-and-rank-killed", marks=pytest.mark.full),
    ],
)
def test_training_goes_on(lab: SlurmLab, expected: dict[int, float], fault: Callable[[SlurmLab, str], None]) -> None:
    job = lab.by_hand(lab.job(seconds=1.0, after=11))
    lab.until_step("tiny", 12)
    fault(lab, job)
    lab.as_if_nothing_had_happened(expected, job)
    assert len(lab.generations("tiny")) == 2


def test_a_job_that_is_preempted_saves_and_comes_back(lab: SlurmLab, expected: dict[int, float]) -> None:
    job = lab.by_hand(lab.job(seconds=1.0, after=11))
    lab.until_step("tiny", 12)
    lab.preempt(job)
    lab.as_if_nothing_had_happened(expected, job)
    assert saved_where_it_stopped(lab) >= 12
    assert len(lab.generations("tiny")) == 2


@pytest.mark.full
def test_a_job_that_is_preempted_without_grace_goes_on_from_its_newest_checkpoint(
    lab: SlurmLab, expected: dict[int, float]
) -> None:
    lab.profile(partition="bare")
    job = lab.by_hand(lab.job(seconds=SLOW))
    lab.until_step("tiny", 12)
    lab.preempt(job)
    lab.as_if_nothing_had_happened(expected, job)
    assert lab.states(job) == ["PREEMPTED", "COMPLETED"]


@pytest.mark.parametrize(
    ("slow", "least"), [pytest.param(1, 2, id="two"), pytest.param(99, 3, id="many", marks=pytest.mark.full)]
)
def test_a_training_longer_than_the_time_limit_is_done_in_segments(
    lab: SlurmLab, expected: dict[int, float], slow: int, least: int
) -> None:
    lab.profile(time_limit="2")  # Slurm looks every 30 s: the signal comes 30 to 60 s after the start
    job = lab.by_hand(lab.job(seconds=2.2 if least == 2 else 5.0, slow=slow))
    lab.until_success("tiny", seconds=400)
    lab.as_if_nothing_had_happened(expected, job)
    segments = len(lab.generations("tiny"))
    assert segments >= least
    assert lab.cluster.restarts(job) == segments - 1, "each segment is a start of the same job"
    assert [outcome["result"] for outcome in lab.outcomes("tiny")] == ["stopped"] * (segments - 1) + ["success"]
    assert "TIMEOUT" not in lab.states(job)


@pytest.mark.full
@pytest.mark.parametrize("node", [pytest.param(1, id="second-node"), pytest.param(0, id="head")])
def test_a_job_whose_node_is_lost_goes_on_elsewhere(lab: SlurmLab, expected: dict[int, float], node: int) -> None:
    job = lab.by_hand(lab.job(seconds=3.0, after=6))
    lab.until_step("tiny", 7)
    lost = lab.cluster.hosts(job)[node]
    lab.cluster.kill(lost)
    lab.until_restarted(job)
    lab.as_if_nothing_had_happened(expected, job)
    assert lost not in lab.cluster.accounted(job)[-1].nodes
    assert lab.states(job)[0] == "NODE_FAIL"


@pytest.mark.full
def test_what_an_orphan_on_a_lost_node_writes_does_not_count(lab: SlurmLab, expected: dict[int, float]) -> None:
    """Both ranks on one node: nothing there ends with slurmd, and they train, save and commit beside the new start."""
    places = {"resources": {"nodes": 1, "gpus_per_node": 2}, "checkpoint": {"dir": "ckpt", "every": 1, "keep": 3}}
    job = lab.by_hand(lab.job(seconds=4.0, after=6, deaf=True, **places))
    lab.until_step("tiny", 6)
    [agent] = lab.tasks("orchestrator.job.agent", "--node 0")
    orphans = lab.rank_pids("tiny")
    os.kill(agent, signal.SIGSTOP)  # or it would see the newer claim and end its ranks
    lab.cluster.kill(lab.cluster.hosts(job)[0])
    lab.until(lambda: len(lab.generations("tiny")) == 2, hint="the requeued job has claimed")
    old, new = lab.generations("tiny")
    before = {path.parent.name for path in old.glob("checkpoints/*/orch-commit.json")}
    written = lab.until(
        lambda: {path.parent.name for path in old.glob("checkpoints/*/orch-commit.json")} - before,
        hint="an orphan commits after the claim of its successor",
    )
    lab.until_success("tiny")
    assert (new / "success.json").exists()
    sealed = {entry["path"] for entry in json.loads(new.with_suffix(".json").read_text())["sealed"]}
    told = json.loads(lab.orch("checkpoints", str(lab.checkpoints("tiny")), "--verify", "--json").stdout)
    counted = {row["path"] for row in told if row["proven"]}
    assert counted, told
    for name in written:
        assert not any(f"000001/checkpoints/{name}" in path for path in sealed | counted), (name, sealed, counted)
    assert lab.counted("tiny") == pytest.approx(expected, abs=1e-6)
    assert lab.until_gone(job) == "COMPLETED"

    os.kill(agent, signal.SIGCONT)
    orphaned = [Path(f"/proc/{pid}") for pid in (agent, *orphans)]
    lab.until(lambda: not any(path.exists() for path in orphaned), hint="the agent ends them, and itself")
    lab.until(lambda: not lab.tasks(), seconds=180, hint="nothing is left")


@pytest.mark.full
def test_slurmctld_may_be_away_for_half_a_minute(lab: SlurmLab, expected: dict[int, float]) -> None:
    """Away when a rank dies and when the training ends."""
    job = lab.by_hand(lab.job(seconds=1.0, after=11))
    lab.until_step("tiny", 12)
    lab.cluster.terminate("slurmctld")
    away = time.monotonic()
    kill(lab.rank_pids("tiny")[1])
    lab.until_success("tiny")
    time.sleep(max(0.0, away + 30 - time.monotonic()))
    lab.cluster.start_slurmctld()
    lab.as_if_nothing_had_happened(expected, job)
    assert lab.cluster.restarts(job) == 0


@pytest.mark.full
@pytest.mark.parametrize("shape", ["hf_trainer", "deepspeed_tags"])
def test_a_script_that_knows_nothing_of_orch_goes_on_after_a_requeue(lab: SlurmLab, shape: str) -> None:
    job = lab.by_hand(lab.job(**own_scripts.keys_of(lab.jobs / "code", shape, pause=0.5)))
    own_scripts.until_late(lab, "tiny")
    _requeue(lab, job)
    lab.until_success("tiny")
    assert lab.until_gone(job) == "COMPLETED"
    own_scripts.went_on(lab, "tiny")
