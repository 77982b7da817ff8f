"""How an attempt that is gone has ended: the job's own records before anybody else's word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters import observation as records
from orchestrator.job.protocol.encoding import from_json, to_json
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.job.remote.records import read_records
from orchestrator.model.run import Cause, Phase, Question, Submission

SUBMISSION = Submission(
    run="tiny",
    run_id="0123456789ab",
    attempt=2,
    cluster="hpc",
    digest="",
    dir="/nowhere/tiny",
    checkpoint_dir="/nowhere/tiny/ckpt",
    bundle_file="",
    nodes=2,
    handle="4711",
)
END = {"result": "failed", "cause": "preflight", "because": "gn02: no torch", "retry": False, "host": "gn02"}


def seen(tmp_path: Path, **changes: Any) -> AttemptRecords:
    """What there is to see of a run without any record, with changes; those of `report` are laid over it."""
    asked = records.request_of(Question(submission=SUBMISSION))
    empty = to_json(read_records(replace(asked, dir=str(tmp_path), checkpoint_dir=str(tmp_path / "ckpt"))))
    return from_json(AttemptRecords, {**empty, **changes, "report": {**empty["report"], **changes.get("report", {})}})


def over(found: AttemptRecords, **more: Any) -> Any:
    return records.ended_observation(SUBMISSION, found, raw="FAILED", started=True, **more)


@pytest.mark.parametrize(
    ("changes", "phase", "cause"),
    [
        ({"report": {"attempt": 2, "success": True}}, Phase.SUCCEEDED, Cause.COMPLETED),
        ({"report": {"attempt": 1, "success": True}}, Phase.SUCCEEDED, Cause.COMPLETED),
        ({"report": {"attempt": 3, "generation": 7}}, Phase.STOPPED, Cause.FENCED),
        ({"report": {"attempt": 2, "result": "failed", "cause": "cuda_oom"}}, Phase.FAILED, Cause.CUDA_OOM),
        ({"report": {"attempt": 2, "result": "stopped", "cause": "asked_to_stop"}}, Phase.STOPPED, Cause.ASKED_TO_STOP),
        ({"report": {"attempt": 1, "result": "failed", "cause": "cuda_oom"}}, Phase.FAILED, Cause.NODE_LOST),
        ({"report": {"attempt": 2, "result": "failed", "cause": "new word"}}, Phase.FAILED, Cause.UNKNOWN),
        ({"owner": "other"}, Phase.STOPPED, Cause.OWNED),
        ({"ended": {0: END, 1: END}}, Phase.FAILED, Cause.PREFLIGHT),
        ({"ended": {1: END}}, Phase.FAILED, Cause.NODE_LOST),
        ({}, Phase.FAILED, Cause.NODE_LOST),
    ],
)
def test_the_jobs_own_word_comes_first(tmp_path: Path, changes: dict[str, Any], phase: Phase, cause: Cause) -> None:
    observation = over(seen(tmp_path, **changes), cause=Cause.NODE_LOST, because="Slurm lost gn02")
    assert (observation.phase, observation.cause) == (phase, cause)


@pytest.mark.parametrize(
    ("cause", "phase"),
    [
        (Cause.PREEMPTED, Phase.STOPPED),
        (Cause.TIME_LIMIT, Phase.STOPPED),
        (Cause.CANCELLED, Phase.CANCELLED),
        (Cause.HOST_OOM, Phase.FAILED),
    ],
)
def test_without_a_word_of_the_job_the_backends_counts(tmp_path: Path, cause: Cause, phase: Phase) -> None:
    observation = over(seen(tmp_path, last_words="the last line of job-1.log: oops"), cause=cause, because="it went")
    words = "it went" if cause is Cause.CANCELLED else "it went; the last line of job-1.log: oops"
    assert (observation.phase, observation.because) == (phase, words)


STOPPED = {"attempt": 2, "result": "stopped", "cause": "asked_to_stop"}


@pytest.mark.parametrize(
    ("changes", "phase", "cause"),
    [
        ({"report": STOPPED}, Phase.CANCELLED, Cause.CANCELLED),
        ({"report": STOPPED, "asked": True}, Phase.STOPPED, Cause.ASKED_TO_STOP),
        ({"asked": True}, Phase.FAILED, Cause.AGENT_LOST),
        ({"report": {"attempt": 2, "success": True}}, Phase.SUCCEEDED, Cause.COMPLETED),
    ],
)
def test_somebodys_cancel_is_the_last_word_and_that_of_orch_is_not(
    tmp_path: Path, changes: dict[str, Any], phase: Phase, cause: Cause
) -> None:
    observation = over(seen(tmp_path, **changes), cause=Cause.CANCELLED, because="alice cancelled the job")
    assert (observation.phase, observation.cause) == (phase, cause)


def test_a_host_that_refused_is_named(tmp_path: Path) -> None:
    observation = over(seen(tmp_path, ended={0: END, 1: END}))
    assert observation.report.host == "gn02"
    assert observation.report.retry is False


def test_what_was_cancelled_before_it_began_is_cancelled(tmp_path: Path) -> None:
    observation = records.ended_observation(SUBMISSION, seen(tmp_path, asked=True), raw="", started=False)
    assert observation.phase is Phase.CANCELLED


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, Phase.STARTING),
        ({"report": {"attempt": 2, "state": "training"}}, Phase.RUNNING),
        ({"report": {"attempt": 1, "state": "training"}}, Phase.STARTING),
        ({"report": {"attempt": 2, "state": "training"}, "asked": True}, Phase.STOPPING),
    ],
)
def test_a_living_attempt_runs_once_its_own_ranks_train(tmp_path: Path, changes: dict[str, Any], phase: Phase) -> None:
    assert records.live_observation(seen(tmp_path, **changes), 2, raw="").phase is phase
