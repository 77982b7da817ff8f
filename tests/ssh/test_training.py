"""Real training on ssh hosts, submitted by the real command: its losses are those of one machine, whatever dies."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.ssh.lab import SshLab

pytestmark = pytest.mark.deepspeed

Labs = Callable[..., SshLab]
Losses = Callable[..., dict[int, float]]


def hosts_of_generation(lab: SshLab, run: str, number: int) -> list[str]:
    records = sorted(lab.generations(run)[number - 1].glob("node-?.json"))
    return [json.loads(record.read_text())["host"] for record in records]


@pytest.mark.full  # those that lose a host, below, train as well
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_two_hosts_train_as_one_machine_does(make_lab: Labs, undisturbed: Losses, launcher: str) -> None:
    lab = make_lab(2)
    run = lab.submit(lab.job(launcher=launcher))
    status = lab.finish(run, seconds=400)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()
    assert hosts_of_generation(lab, run, 1) == ["gpu1", "gpu2"]
    assert [event["kind"] for event in lab.events(run)][-1] == "succeeded"
    lab.until(lambda: not [host for host in lab.bed.hosts if host.processes("orchestrator.job.agent")], seconds=180)


def _rank(lab: SshLab, run: str) -> None:
    pid = lab.rank_pids(run)[1]
    lab.host(run, 1).enter("kill", "-9", str(pid))


def _agent(lab: SshLab, run: str) -> None:
    lab.host(run, 1).kill("-m orchestrator.job.agent ")


def _host(lab: SshLab, run: str) -> None:
    lab.host(run, 0).kill()


def _all_hosts(lab: SshLab, run: str) -> None:
    for host in lab.bed.hosts:
        host.kill()


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(_rank, id="rank", marks=pytest.mark.full),
        pytest.param(_agent, id="agent", marks=pytest.mark.full),
        pytest.param(_host, id="everything-on-a-host", marks=pytest.mark.full),
        pytest.param(_all_hosts, id="everything", marks=pytest.mark.full),
    ],
)
def test_the_run_finishes_as_if_nothing_had_died(
    make_lab: Labs, undisturbed: Losses, victim: Callable[[SshLab, str], None]
) -> None:
    lab = make_lab(2)
    run = lab.submit(lab.job())
    lab.until_step(run, 11)
    victim(lab, run)
    status = lab.finish(run, seconds=400)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()


@pytest.mark.full  # one that is cut off, below, is lost as well
def test_a_run_goes_on_with_a_spare_host_when_one_is_switched_off(make_lab: Labs, undisturbed: Losses) -> None:
    lab = make_lab(3)
    run = lab.submit(lab.job())
    lab.until_step(run, 11)
    lab.bed["gpu2"].power_off()
    status = lab.finish(run, seconds=400)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()
    assert lab.hosts_of(run, 2) == ["gpu1", "gpu3"]
    lost = next(event for event in lab.events(run) if event["kind"] == "lost")
    assert lost["data"]["cause"] == "node_lost"
    assert lost["data"]["host"] == "gpu2"


def test_a_host_that_comes_back_from_being_cut_off_changes_nothing(make_lab: Labs, undisturbed: Losses) -> None:
    lab = make_lab(3)
    run = lab.submit(lab.job())
    lab.until_step(run, 11)
    lab.bed["gpu1"].cut()  # node 0, which makes claims and commits
    lab.until(lambda: lab.step(run)[0] >= 2, seconds=200, hint="another generation on other hosts")
    lab.bed["gpu1"].heal()
    status = lab.finish(run, seconds=400)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()
    assert lab.hosts_of(run, 2) == ["gpu2", "gpu3"]
    lost = next(event for event in lab.events(run) if event["kind"] == "lost")
    assert (lost["data"]["cause"], lost["data"]["host"]) == ("node_lost", "gpu1")
    lab.until(lambda: not lab.bed["gpu1"].processes("orchestrator"), seconds=180, hint="the orphans end by themselves")


@pytest.mark.full  # bundles that are started by hand have no controller either
def test_a_run_goes_on_while_no_controller_is_there(make_lab: Labs, undisturbed: Losses) -> None:
    lab = make_lab(2)
    job = lab.job()
    run = lab.submit(job)
    lab.until_step(run, 11)
    lab.kill_here()
    _rank(lab, run)
    lab.until((lab.checkpoints(run) / "generations/000002/success.json").exists, seconds=200)
    assert lab.submit(job) == run, "adopts the run, and sees to it that a controller is alive"
    status = lab.finish(run, seconds=400)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()


@pytest.mark.full
def test_a_run_that_is_cancelled_saves_first_and_can_be_resumed(make_lab: Labs) -> None:
    lab = make_lab(2)
    run = lab.submit(lab.job(steps=5000, checkpoint={"dir": "ckpt", "every": 4000}))
    lab.until_step(run, 11)
    lab.orch("cancel", run)
    lab.orch("wait", run, check=False)
    status = lab.status(run)
    assert status["phase"] == "cancelled", status
    saved = status["checkpoint"]["step"]
    assert 11 <= saved < 4000, "where it was, not the step of a regular checkpoint"
    assert not [host for host in lab.bed.hosts if host.processes("orchestrator")]
    lab.orch("resume", run)
    lab.until_step(run, saved + 1, generation=2)
    claim = json.loads((lab.checkpoints(run) / "generations/000002.json").read_text())
    assert claim["resume"]["step"] == saved
    lab.orch("cancel", run, "--now")
    lab.orch("wait", run, check=False)
    assert not [host for host in lab.bed.hosts if host.processes("orchestrator")]
    lab.orch("rm", run)
    assert [path.name for path in lab.checkpoints(run).parent.iterdir()] == [lab.checkpoints(run).name]
