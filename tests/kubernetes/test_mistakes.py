"""A mistake of the user's is told with its traceback, and is not tried for ever: with a controller and without one."""

from __future__ import annotations

import json

import pytest

from tests.kubernetes.conftest import Make

full = pytest.mark.full
WRONG = """
import os
if os.environ["RANK"] == "1":
    raise ValueError("the data are not what they were")
import time
time.sleep(600)
"""
FAILED = {"pytorchjob": "Failed", "jobset": "Failed", "trainjob": "Failed"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind", ["pytorchjob", pytest.param("jobset", marks=full), pytest.param("trainjob", marks=full)]
)
def test_a_users_mistake_ends_a_run_with_the_traceback_of_the_rank_that_failed(make_lab: Make, kind: str) -> None:
    lab = make_lab(kind)
    run = lab.submit(lab.script("wrong", WRONG))
    done = lab.orch("wait", run, check=False, timeout=200)
    status = lab.status(run)
    assert done.returncode == 10, done.stderr
    assert (status["phase"], status["cause"], status["attempt"]) == ("failed", "user_error", 1)
    assert "the data are not what they were" in status["because"]
    assert "raise ValueError" in json.dumps(status["first_error"])
    assert "the data are not what they were" in lab.orch("logs", run).stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind", [pytest.param("pytorchjob", marks=full), "jobset", pytest.param("trainjob", marks=full)]
)
@pytest.mark.full
def test_without_a_controller_no_operator_starts_it_again_for_ever(make_lab: Make, kind: str) -> None:
    lab = make_lab(kind)
    name = lab.by_hand(lab.script("wrong", WRONG))
    lab.until(lambda: lab.condition(name) == FAILED[kind], hint=f"{name} has failed", seconds=200)
    assert len(lab.generations("wrong")) <= 2
    # Whoever ends last may be taken away, for the Job has failed by then; every node says what was decided.
    words = lab.last_words("wrong")
    assert any("the data are not what they were" in word["report"]["because"] for word in words), words
