"""orch submit to Slurm: the run is done, whatever happens, and what orch tells of it is what happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from testbeds.slurm.layout import NODES
from tests.faults.lab import kill
from tests.slurm.lab import SLOW, STEPS, SlurmLab

training = pytest.mark.deepspeed


def submitted(lab: SlurmLab, **changes: object) -> tuple[str, str]:
    """The run and its job, once it trains."""
    run = lab.submit(lab.job(seconds=SLOW, **changes))
    job = lab.until_scheduled(run)
    lab.until_step(run, 8)
    return run, job


def kinds(lab: SlurmLab, run: str) -> list[str]:
    return [event["kind"] for event in lab.events(run)]


@training
@pytest.mark.parametrize("nodes", [2, pytest.param(4, marks=pytest.mark.full)])
def test_a_quickstart_job_is_told_as_it_was(lab: SlurmLab, nodes: int) -> None:
    run = lab.submit(lab.quickstart(nodes=nodes))
    job = lab.until_scheduled(run)
    lab.until(lambda: lab.status(run)["phase"] == "running", hint="status tells that it trains")
    assert lab.hosts_of_ranks(run) == lab.cluster.hosts(job)
    status = lab.finish(run)
    assert (status["step"], status["steps"], status["attempt"]) == (STEPS, STEPS, 1)
    assert sorted(lab.losses(run)) == list(range(1, STEPS + 1))
    logs = lab.orch("logs", run).stdout
    assert f"step {STEPS}/{STEPS}" in logs
    assert "Every rank attested the end of the training" in logs
    told = lab.orch("events", run).stdout
    assert f"job {job}" in told, told
    assert kinds(lab, run)[-1] == "succeeded"
    checkpoints = json.loads(lab.orch("checkpoints", run, "--verify", "--json").stdout)
    assert {row["step"]: row["proven"] for row in checkpoints}[STEPS] is True
    assert lab.states(job) == ["COMPLETED"]


GPUS = """
import json, os
from orchestrator.training import Session
session = Session.start()
place = os.environ["ORCH_GENERATION_DIR"] + "/gpus-" + os.environ["RANK"] + ".json"
with open(place, "w") as file:
    json.dump({name: os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "SLURMD_NODENAME")}, file)
session.done(1)
"""


def test_the_gpus_that_slurm_gave_are_the_ones_that_the_ranks_see(lab: SlurmLab) -> None:
    """Another job of the user's has the first three of the first node. The GPUs are fake, and so is what lists them."""
    lab.cluster.sbatch(f"--nodelist={NODES[0]}", "--gres=gpu:3", "--wrap=sleep 60", "--output=/dev/null", cwd=lab.root)
    lab.profile(device="cuda", setup=[f"export PATH={lab.cluster.root}/bin:$PATH"], options=[f"--nodelist={NODES[0]}"])
    run = lab.submit(lab.script("gpus", GPUS, resources={"nodes": 2, "gpus_per_node": 2}))
    lab.finish(run)
    seen = [json.loads(path.read_text()) for path in sorted(lab.generations(run)[0].glob("gpus-*.json"))]
    assert len(seen) == 4
    by_node = {entry["SLURMD_NODENAME"]: entry["CUDA_VISIBLE_DEVICES"] for entry in seen}
    assert by_node == {NODES[0]: "3,4", NODES[1]: "0,1"}


def _requeue(lab: SlurmLab, job: str) -> None:
    lab.cluster.admin("scontrol", "requeue", job)
    lab.until_restarted(job)


def _preempted(lab: SlurmLab, job: str) -> None:
    lab.preempt(job)


def _rank(lab: SlurmLab, job: str) -> None:
    kill(lab.rank_pids("tiny")[1])


def _slurmctld_away(lab: SlurmLab, job: str) -> None:
    lab.cluster.terminate("slurmctld")
    kill(lab.rank_pids("tiny")[0])
    time.sleep(30)
    lab.cluster.start_slurmctld()


def _accounting_down(lab: SlurmLab, job: str) -> None:
    lab.cluster.terminate("slurmdbd")
    _requeue(lab, job)


@training
@pytest.mark.full
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(_preempted, id="preempted"),
        pytest.param(_requeue, id="requeued"),
        pytest.param(_rank, id="rank-killed"),
        pytest.param(_slurmctld_away, id="slurmctld-away"),
        pytest.param(_accounting_down, id="accounting-down"),
    ],
)
def test_the_same_attempt_goes_on(
    lab: SlurmLab, expected: dict[int, float], fault: Callable[[SlurmLab, str], None]
) -> None:
    run, job = submitted(lab)
    fault(lab, job)
    status = lab.finish(run)
    assert (status["step"], status["attempt"]) == (STEPS, 1)
    assert lab.losses(run) == pytest.approx(expected, abs=1e-6)
    lab.as_if_nothing_had_happened(expected, job)
    assert lab.scheduled(run) == [job], "Slurm's own requeue brought it back; orch made no second job beside it"


@training
def test_a_lost_node_is_told_and_left(lab: SlurmLab, expected: dict[int, float]) -> None:
    run = lab.submit(lab.job(seconds=3.0, after=6))
    job = lab.until_scheduled(run)
    lab.until_step(run, 7)
    lost = lab.cluster.hosts(job)[1]
    lab.cluster.kill(lost)
    lab.until_restarted(job)
    status = lab.finish(run)
    assert status["step"] == STEPS
    assert lab.losses(run) == pytest.approx(expected, abs=1e-6)
    assert lab.scheduled(run) == [job]
    assert lost not in lab.cluster.accounted(job)[-1].nodes


@training
@pytest.mark.full
def test_a_controller_that_is_killed_after_the_submission_is_not_missed(
    lab: SlurmLab, expected: dict[int, float]
) -> None:
    run = lab.submit(lab.job(seconds=SLOW))
    lab.kill_orch()
    job = lab.until_scheduled(run)
    lab.until_step(run, 12)
    _requeue(lab, job)
    lab.as_if_nothing_had_happened(expected, job)
    assert lab.scheduled(run) == [job]
    lab.submit(lab.jobs / "tiny.yaml")
    status = lab.finish(run, seconds=180)
    assert (status["step"], status["attempt"]) == (STEPS, 1), "a controller that comes late reads what happened"
    assert lab.losses(run) == pytest.approx(expected, abs=1e-6)


COUNT = """
import os, pathlib, time
from orchestrator.training import Session
session = Session.start()
pathlib.Path(os.environ["ORCH_GENERATION_DIR"], f"ran-{os.environ['SLURM_JOB_ID']}-{os.environ['RANK']}").touch()
time.sleep(3)
session.done(1)
"""


@pytest.mark.timeout(240)
def test_a_slurmctld_that_hangs_during_sbatch_gets_exactly_one_job_to_work(lab: SlurmLab) -> None:
    job = lab.script("count", COUNT)
    lab.cluster.send("slurmctld", signal.SIGSTOP)
    command = [*lab.cluster.argv_prefix(lab.jobs), sys.executable, "-m", "orchestrator", "submit", str(job)]
    with subprocess.Popen(command, env=lab.env, cwd=lab.jobs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as submit:
        time.sleep(15)  # sbatch gives up after 10 s; the job is made all the same when slurmctld wakes
        lab.cluster.send("slurmctld", signal.SIGCONT)
        submit.communicate(timeout=120)
    lab.finish("count")
    assert len(lab.generations("count")) == 1
    ran = [path.name for path in lab.generations("count")[0].glob("ran-*")]
    assert len(ran) == 2, ran
    jobs = lab.scheduled("count")
    winner = (lab.run_dir("count") / "attempts" / "000001" / "job").read_text().strip()
    assert {name.split("-")[1] for name in ran} == {winner}
    for other in set(jobs) - {winner}:
        lab.until_gone(other)
    assert lab.status("count")["attempt"] == 1


def test_an_import_error_ends_the_run_once_with_its_traceback(lab: SlurmLab) -> None:
    run = lab.submit(lab.script("wrong", "import numpyy\n"))
    done = lab.orch("wait", run, check=False, timeout=120)
    assert done.returncode == 10
    status = lab.status(run)
    assert (status["phase"], status["cause"], status["attempt"]) == ("failed", "user_error", 1)
    assert len(lab.scheduled(run)) == 1
    assert len(lab.generations(run)) == 1
    told = lab.orch("status", run).stdout + lab.orch("events", run).stdout
    assert "No module named 'numpyy'" in told
    assert "Traceback (most recent call last)" in lab.orch("logs", run).stdout
    job = lab.scheduled(run)[0]
    assert lab.until_gone(job) == "FAILED"
    assert lab.cluster.restarts(job) == 0
    assert lab.orch("rm", run, "--checkpoints").stdout == f"{run}\n"
    assert not (lab.shared / "runs" / run).exists()
    assert lab.orch("status").stdout == ""


SLEEP = """
import time
from orchestrator.training import Session
Session.start()
time.sleep(120)
"""


@pytest.mark.parametrize("how", ["orch-cancel", "scancel"])
def test_a_cancelled_run_does_not_come_back(lab: SlurmLab, how: str) -> None:
    run = lab.submit(lab.script("sleep", SLEEP, restart={"max_failures": 5}))
    job = lab.until_scheduled(run)
    lab.until(
        lambda: lab.generations(run) and len(list((lab.generations(run)[0] / "ranks").glob("*"))) >= 2, hint="runs"
    )
    if how == "scancel":
        lab.cluster.run("scancel", job)
    else:
        lab.orch("cancel", run, "--now")
    lab.orch("wait", run, check=False, timeout=90)
    assert lab.until_gone(job) in {"CANCELLED", "FAILED"}
    time.sleep(8)  # longer than a controller or Slurm takes to start it again
    assert lab.cluster.jobs() == []
    status = lab.status(run)
    assert status["phase"] == ("cancelled" if how == "orch-cancel" else status["phase"])
    assert status["phase"] in {"cancelled", "stopped"}, status
    assert (status["attempt"], len(lab.generations(run)), lab.scheduled(run)) == (1, 1, [job])


@pytest.mark.parametrize(
    ("profile", "resources", "word"),
    [
        pytest.param({}, {"nodes": 20, "gpus_per_node": 1}, "PartitionNodeLimit|PartitionConfig", id="too-many-nodes"),
        pytest.param({"options": ["--dependency=afterok:{failed}"]}, {}, "DependencyNeverSatisfied", id="dependency"),
        pytest.param({"constraint": "nonsense"}, {}, "Invalid feature", id="constraint"),
    ],
)
def test_a_job_that_can_never_start_is_told_with_its_reason(
    lab: SlurmLab, profile: dict[str, object], resources: dict[str, int], word: str
) -> None:
    if options := profile.get("options"):
        failed = lab.cluster.sbatch("--wrap=exit 1", "--output=/dev/null", cwd=lab.root)
        assert lab.until_gone(failed) == "FAILED"
        profile = {"options": [str(option).format(failed=failed) for option in options]}
    lab.profile(**profile)
    changes = {"resources": resources} if resources else {}
    lab.orch("submit", str(lab.script("never", COUNT, **changes)), check=False)

    def told() -> bool:
        said = lab.orch("status", "never", check=False).stdout
        return any(part in said for part in word.split("|"))

    lab.until(told, seconds=180, hint=f"orch status says {word}")
    lab.orch("cancel", "never", "--now", check=False)
