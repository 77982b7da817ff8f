"""`orch resume` with another value, new code or a corrected profile, as far as the next attempt's files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator.clusters import open_backend
from orchestrator.config import specfile
from orchestrator.errors import JobError
from orchestrator.model.run import Run
from orchestrator.runs import again, submit
from orchestrator.runs.dispatch import job_of
from orchestrator.runs.prepare import prepare
from tests.controller.bench import PROFILE, Bench

JOB = b"{name: tiny, run: python t.py, code: src, env: {A: x}, checkpoint: {keep: 2}}"


@pytest.fixture
def cancelled(orch_home: Path, tmp_path: Path) -> tuple[Bench, Run]:
    """A run that its user ended before it was handed over."""
    bench = Bench(orch_home)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "t.py").write_text("first = True\n")
    spec = specfile.parse(JOB, str(tmp_path / "job.yaml"))
    made = prepare(spec, bench.backend, job_dir=str(tmp_path))
    submit._record(bench.store, bench.backend, made, {}, bad_nodes=submit.USUAL)
    return bench, bench.store.record("tiny", "cancelled", {})


def make(bench: Bench, run: Run, *overrides: str, profile=PROFILE, code: bool = False, current: bool = True):
    return again.make(bench.store, bench.backend, run, profile, overrides=overrides, code=code, current=current)


def test_without_a_change_the_files_stay_as_they_are(cancelled, tmp_path: Path) -> None:
    (tmp_path / "src" / "t.py").write_text("second = True\n")
    assert make(*cancelled) is None


def test_other_values_are_told_and_the_code_stays_as_it_was(cancelled, tmp_path: Path) -> None:
    (tmp_path / "src" / "t.py").write_text("second = True\n")
    made = make(*cancelled, "checkpoint.keep=5", "env.A=y")
    assert made.told == ("checkpoint.keep: 2 -> 5", "env.A is changed")
    assert made.prepared.bundle.text("code/t.py") == "first = True\n"
    assert made.prepared.run_id == cancelled[1].run_id


def test_new_code_is_taken_when_it_is_asked_for(cancelled, tmp_path: Path) -> None:
    (tmp_path / "src" / "t.py").write_text("second = True\n")
    made = make(*cancelled, code=True)
    assert made.told == ("t.py changed",)
    assert made.prepared.bundle.text("code/t.py") == "second = True\n"


def test_what_must_stay_is_refused_with_the_reason_and_what_may_change(cancelled) -> None:
    with pytest.raises(JobError, match="for each rank that there was") as error:
        make(*cancelled, "resources.gpus_per_node=2")
    assert "checkpoint.keep" in (error.value.hint or "")
    with pytest.raises(JobError, match="does not take run"):
        make(*cancelled, "run=python u.py")


def test_a_corrected_profile_is_taken_by_the_next_attempt_unless_the_kept_one_is_asked_for(cancelled) -> None:

    bench, run = cancelled
    profile = dataclasses.replace(PROFILE, python="/opt/py/bin/python")
    bench.backend = open_backend("local", profile, bench.home)
    made = make(bench, run, profile=profile)
    assert made.told == ("cluster local: python: not set -> /opt/py/bin/python",)
    assert job_of(made.prepared.bundle).python == "/opt/py/bin/python"
    assert make(bench, run, profile=profile, current=False) is None
