"""kill -9 at every recorded step, of the process that submits and of the controller: one run, one writer, no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.job.system import failpoints, proc
from orchestrator.model.run import Phase
from orchestrator.runs import submit
from tests.controller.bench import Bench, prepared

ROOT = Path(__file__).parents[2]
IN_A_SUBMISSION = [name for name in failpoints.POINTS if name.startswith(("submit.", "start.", "handover."))]
IN_A_RECOVERY = [name for name in failpoints.POINTS if name.startswith(("controller.", "start.", "handover."))]


def act(home: Path, verb: str, command: str, fault: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.controller.acting", str(home), verb, command],
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: fault},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def test_the_points_are_all_tried_here() -> None:
    elsewhere = {name for name in failpoints.POINTS if name.startswith("kubernetes.")}  # tests/kubernetes/test_kills.py
    elsewhere |= {name for name in failpoints.POINTS if name.startswith(("replace.", "remove."))}  # test_<these>.py
    assert {*IN_A_SUBMISSION, *IN_A_RECOVERY, *elsewhere, "cancel.requested"} == set(failpoints.POINTS)


@pytest.mark.parametrize("fault", IN_A_SUBMISSION)
def test_a_submission_killed_anywhere_and_repeated_is_one_run_with_one_attempt(bench: Bench, fault: str) -> None:
    assert finish(act(bench.home, "submit", "train", fault)) == -signal.SIGKILL
    assert finish(act(bench.home, "submit", "train")) == 0
    run = bench.until_end()
    assert (run.phase, run.attempt, run.generation) == (Phase.SUCCEEDED, 1, 1)
    assert bench.starts() == 2  # one of each node
    assert [kind for kind in bench.kinds() if kind in {"submitted", "resubmitting"}] == ["submitted"]


@pytest.mark.parametrize("fault", IN_A_SUBMISSION[1:])
def test_a_submission_killed_after_it_was_recorded_is_completed_by_the_controller(bench: Bench, fault: str) -> None:
    assert finish(act(bench.home, "submit", "train", fault)) == -signal.SIGKILL
    run = bench.until_end()
    assert (run.phase, run.attempt, run.generation) == (Phase.SUCCEEDED, 1, 1)
    assert bench.starts() == 2


@pytest.mark.parametrize("fault", IN_A_RECOVERY)
def test_a_controller_killed_anywhere_in_a_recovery_is_replaced(bench: Bench, fault: str) -> None:
    assert finish(act(bench.home, "submit", "train 0.5")) == 0
    for pid in bench.agents():
        proc.send(pid, signal.SIGKILL)
    assert finish(act(bench.home, "tick", "", fault)) == -signal.SIGKILL
    assert finish(act(bench.home, "tick", "")) == 0
    run = bench.run()
    assert (run.phase, run.attempt) == (Phase.SUCCEEDED, 2)
    assert [kind for kind in bench.kinds() if kind in {"lost", "resubmitting"}] == ["lost", "resubmitting"]
    assert bench.agents() == []


def test_submits_at_the_same_moment_are_one_run(bench: Bench) -> None:
    many = [act(bench.home, "submit", "train") for _ in range(4)]
    assert [process.communicate(timeout=60)[0].strip() for process in many] == ["tiny"] * 4
    run = bench.until_end()
    assert (run.phase, run.attempt, run.generation) == (Phase.SUCCEEDED, 1, 1)
    assert bench.starts() == 2
    assert bench.kinds().count("submitted") == 1


def test_a_cancel_between_the_record_and_the_hand_over_lets_nothing_start(bench: Bench) -> None:
    assert finish(act(bench.home, "submit", "train", "submit.recorded")) == -signal.SIGKILL
    submit.cancel_run(bench.store, "tiny")
    assert bench.until_end().phase is Phase.CANCELLED
    bench.backend.submit(bench.run().submission, prepared().bundle, {})  # a submitter that was slow
    assert bench.agents() == []
    assert bench.starts() == 0
