"""kill -9 of whoever submits, at every recorded step: one run, one object, one attempt."""

from __future__ import annotations

import signal

import pytest

from orchestrator.job.system import failpoints
from tests.kubernetes.conftest import Make

POINTS = [name for name in failpoints.POINTS if name.startswith(("submit.", "kubernetes.", "handover."))]
IN_TEST = {"kubernetes.job"}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in IN_TEST else pytest.mark.full) for name in POINTS]
)
def test_a_submission_that_is_killed_anywhere_is_one_object(make_lab: Make, fault: str) -> None:
    lab = make_lab("jobset")
    job = lab.script("short", "print('done')")
    lab.env[failpoints.VARIABLE] = fault
    assert lab.orch("submit", str(job), check=False).returncode == -signal.SIGKILL
    del lab.env[failpoints.VARIABLE]
    lab.orch("submit", str(job))
    lab.finish("short")
    assert lab.objects("short") == ["orch-short-1"]
    assert (lab.status("short")["attempt"], len(lab.generations("short"))) == (1, 1)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", ["kubernetes.files", pytest.param("kubernetes.job", marks=pytest.mark.full)])
def test_a_controller_that_is_killed_while_it_hands_over_is_replaced(make_lab: Make, fault: str) -> None:
    lab = make_lab("pytorchjob")
    job = lab.script("short", "print('done')")
    lab.env[failpoints.VARIABLE] = "submit.recorded"
    lab.orch("submit", str(job), check=False)
    lab.env[failpoints.VARIABLE] = fault
    assert lab.orch("controller", "--once", check=False, timeout=60).returncode in {0, -signal.SIGKILL}
    lab.until(lambda: lab.orch("controller", "--once", check=False).returncode == -signal.SIGKILL, hint="killed")
    del lab.env[failpoints.VARIABLE]
    lab.finish("short")
    assert lab.objects("short") == ["orch-short-1"]
    assert (lab.status("short")["attempt"], len(lab.generations("short"))) == (1, 1)
