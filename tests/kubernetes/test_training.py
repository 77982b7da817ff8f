"""A job trains on a real cluster under each kind of job object: submitted by orch, or applied by hand."""

from __future__ import annotations

import json

import pytest

from tests.kubernetes.conftest import Make
from tests.kubernetes.lab import KINDS, STEPS, KubeLab

pytestmark = [pytest.mark.deepspeed, pytest.mark.timeout(900)]
full = pytest.mark.full
DONE = {"pytorchjob": "Succeeded", "jobset": "Completed", "trainjob": "Complete"}


@pytest.mark.parametrize(
    "kind", ["trainjob", pytest.param("jobset", marks=full), pytest.param("pytorchjob", marks=full)]
)
def test_a_submitted_job_is_told_as_it_was(make_lab: Make, kind: str) -> None:
    lab = make_lab(kind)
    run = lab.submit(lab.quickstart(steps=20))
    status = lab.finish(run)
    assert (status["step"], status["steps"], status["attempt"]) == (20, 20, 1)
    assert sorted(lab.losses(run)) == list(range(1, 21))
    assert lab.losses(run) == lab.counted(run)
    logs = lab.orch("logs", run).stdout
    assert "step 20/20" in logs
    assert "Every rank attested the end of the training" in logs
    assert {line.partition("]")[0] for line in logs.splitlines() if line.startswith("[rank")} >= {"[rank 0", "[rank 3"}
    kinds = [event["kind"] for event in lab.events(run)]
    assert (kinds[0], kinds[-1], kinds.count("handed_over")) == ("submitted", "succeeded", 1)
    checkpoints = json.loads(lab.orch("checkpoints", run, "--json").stdout)
    assert [row["step"] for row in checkpoints] == [20, 10]
    assert {row["generation"] for row in checkpoints} == {1}
    assert lab.objects(run) == [f"orch-{run}-1"] * len(lab.objects(run))
    lab.kubectl("delete", "pods", "--all", "--wait=false")
    assert lab.orch("logs", run).stdout == logs, "logs outlive the pods"


@pytest.mark.parametrize("kind", [pytest.param("pytorchjob", marks=full), pytest.param("trainjob", marks=full)])
def test_a_job_that_was_applied_by_hand_finishes(make_lab: Make, expected: dict[int, float], kind: str) -> None:
    lab = make_lab(kind)
    name = lab.by_hand(lab.job("tiny"))
    lab.until_success("tiny")
    assert lab.counted("tiny") == pytest.approx(expected, abs=1e-6)
    lab.until(lambda: lab.condition(name) == DONE[kind], hint=f"{name} is {DONE[kind]}", seconds=180)


def test_a_jobset_that_was_applied_by_hand_finishes(
    undisturbed: tuple[KubeLab, str], expected: dict[int, float]
) -> None:
    lab, name = undisturbed
    assert len(expected) == STEPS
    lab.until(lambda: lab.condition(name) == DONE["jobset"], hint=f"{name} is Completed", seconds=180)
    assert not [pod for pod in lab.pods("tiny") if pod["status"]["phase"] == "Running"]


def test_the_kinds_are_those_that_are_tried_here() -> None:
    assert set(DONE) == set(KINDS)
