"""What follows on a stop: pure, from a submission to the next."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
import submitit
from submitit.core.utils import DelayedSubmission, UncompletedJobError

from orchestrator.job.tasks.stop import Clock, is_checkpointable, successor


class Sum(submitit.helpers.Checkpointable):
    def __call__(self, *numbers: int) -> int:
        return sum(numbers)


class Half(Sum):
    def checkpoint(self, *numbers: int) -> DelayedSubmission:
        return DelayedSubmission(self, *numbers[1:])


class Never(Sum):
    def checkpoint(self, *numbers: int) -> Any:
        return None


class Broken(Sum):
    def checkpoint(self, *numbers: int) -> Any:
        raise OSError("Connection reset by peer")


def submission(function: Any, *numbers: int, countdown: int = 1) -> DelayedSubmission:
    delayed = DelayedSubmission(function, *numbers)
    delayed.set_timeout(60, countdown)
    return delayed


def test_what_checkpoint_returns_is_called_next() -> None:
    assert successor(submission(Sum(), 1, 2), timed_out=False).result() == 3
    assert successor(submission(Half(), 1, 2), timed_out=False).result() == 2


def test_time_outs_are_counted_down_and_other_stops_are_not() -> None:
    delayed = submission(Sum(), 1)
    for _ in range(5):
        delayed = successor(delayed, timed_out=False)
    once = successor(delayed, timed_out=True)
    assert once.result() == 1
    with pytest.raises(UncompletedJobError, match="Job not requeued because: timed-out too many times"):
        successor(once, timed_out=True).result()


@pytest.mark.parametrize(
    ("function", "why"),
    [(Never(), "checkpoint function returned None"), (Broken(), "checkpoint failed:\n.*Connection reset by peer")],
)
def test_a_job_that_cannot_go_on_says_so_at_its_next_start(function: Any, why: str) -> None:
    stored = pickle.loads(pickle.dumps(successor(submission(function), timed_out=False)))
    with pytest.raises(UncompletedJobError, match=f"(?s)Job not requeued because: {why}"):
        stored.result()


def test_what_submitit_calls_checkpointable_is() -> None:
    class Marked:
        def __submitit_checkpoint__(self) -> None: ...

    assert is_checkpointable(Sum())
    assert is_checkpointable(Marked())
    assert not is_checkpointable(sum)


def test_the_time_of_an_attempt_begins_with_its_agent() -> None:
    agent = os.getppid()
    assert not Clock(None, agent, loose=True).is_up()
    assert Clock(0.001, agent, loose=False).is_up()
    later = Clock(1e9, agent, loose=False)
    assert not later.is_up()
    assert Clock(1e9, agent, loose=True).left() == pytest.approx(later.left() - 75, abs=1)
    assert Clock(20, 2**22 + 1, loose=True).left() == pytest.approx(5, abs=1)  # no such process: it begins now
