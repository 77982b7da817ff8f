"""kill -9 of each part, and of all of them: the run finishes, one writer counts, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.lab import Lab, kill

pytestmark = pytest.mark.deepspeed


def _rank(lab: Lab, run: str) -> None:
    kill(lab.rank_pids(run)[1])


def _agent(lab: Lab, run: str) -> None:
    kill(lab.processes("orchestrator.job.agent ", "--node 1")[0])


def _first_agent(lab: Lab, run: str) -> None:
    kill(lab.processes("orchestrator.job.agent ", "--node 0")[0])


def _launcher(lab: Lab, run: str) -> None:
    kill(lab.processes("torch.distributed.run", "--node-rank 1")[0])


def _controller(lab: Lab, run: str) -> None:
    kill(lab.processes("orchestrator", "controller")[0])


def _everything(lab: Lab, run: str) -> None:
    lab.kill_everything()


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(_agent, id="agent", marks=pytest.mark.full),
        pytest.param(_everything, id="everything"),
        pytest.param(_launcher, id="torchrun", marks=pytest.mark.full),
        pytest.param(_rank, id="rank", marks=pytest.mark.full),
        pytest.param(_first_agent, id="first-agent", marks=pytest.mark.full),
        pytest.param(_controller, id="controller", marks=pytest.mark.full),
    ],
)
def test_the_run_finishes_as_if_nothing_had_died(
    lab: Lab, undisturbed: Callable[..., dict[int, float]], victim: Callable[[Lab, str], None]
) -> None:
    job = lab.job()
    run = lab.submit(job)
    lab.until_step(run, 15)
    victim(lab, run)
    assert lab.submit(job) == run, "the same submission adopts the run and sees to it that a controller is alive"
    status = lab.finish(run)
    assert status["step"] == status["steps"] == 40
    assert lab.losses(run) == undisturbed()
    lab.until(
        lambda: not lab.processes("orchestrator.job.agent"), seconds=180, hint="no agent, launcher or rank is left"
    )


@pytest.mark.full
def test_deepspeeds_own_launcher_trains_and_goes_on_after_a_kill(
    lab: Lab, undisturbed: Callable[..., dict[int, float]]
) -> None:
    run = lab.submit(lab.job(launcher="deepspeed"))
    lab.until_step(run, 15)
    assert lab.processes("deepspeed.launcher.launch"), "the ranks are DeepSpeed's, not torchrun's"
    _rank(lab, run)
    lab.finish(run)
    first, last = lab.outcomes(run)
    assert "was killed by SIGKILL" in first["because"]
    assert last["result"] == "success"
    assert lab.losses(run) == undisturbed()
    lab.until(lambda: not lab.processes("deepspeed.launcher"), seconds=180, hint="no launcher or rank is left")
