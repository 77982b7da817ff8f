"""What every backend must do, whatever it submits to. A new backend is a row in conftest.PLACES."""

from __future__ import annotations

import dataclasses
import signal

from orchestrator.job.system import proc
from orchestrator.model.run import Cause, Phase, Question
from tests.clusters.conftest import LIVE, SECRET, Place

SHORT = "print('hello from', __import__('os').environ['RANK'])"
LONG = """
    import time
    while True:
        time.sleep(0.1)
"""
WRONG = "import a_module_that_does_not_exist"
METRICS = """
    import json, os, time
    if os.environ["RANK"] == "0":
        with open(os.path.join(os.environ["ORCH_GENERATION_DIR"], "metrics.jsonl"), "a") as file:
            for step in range(1, 6):
                print(json.dumps({"step": step, "loss": 1 / step}), file=file, flush=True)
                time.sleep(0.3)
"""


def handed_over(place: Place, script: str, **how: object):
    submission, bundle = place.attempt(script, **how)
    handle = place.backend.submit(submission, bundle, {})
    return dataclasses.replace(submission, handle=handle), bundle


def test_an_attempt_that_was_not_handed_over_is_pending(place: Place) -> None:
    submission, _ = place.attempt(SHORT)
    assert place.see(submission).phase is Phase.PENDING


def test_an_attempt_lives_and_then_has_succeeded(place: Place) -> None:
    submission, _ = handed_over(place, SHORT)
    assert place.see(submission).phase in LIVE
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.SUCCEEDED, Cause.COMPLETED)
    assert seen.report is not None
    assert seen.report.success
    assert seen.report.attempt == 1


def test_the_same_attempt_handed_over_again_is_adopted(place: Place) -> None:
    submission, bundle = handed_over(place, LONG)
    place.until(submission, lambda _: len(place.agents(submission)) == 2)
    agents = place.agents(submission)
    assert place.backend.submit(submission, bundle, {}) == submission.handle
    assert place.agents(submission) == agents


def test_an_attempt_that_has_ended_is_not_started_again_by_another_hand_over(place: Place) -> None:
    submission, bundle = handed_over(place, SHORT)
    place.until(submission, lambda seen: seen.phase.ended)
    assert place.backend.submit(submission, bundle, {}) == submission.handle
    assert place.agents(submission) == []
    assert place.see(submission).phase is Phase.SUCCEEDED


def test_a_mistake_in_the_script_has_failed_with_its_cause_and_is_not_worth_another_attempt(place: Place) -> None:
    submission, _ = handed_over(place, WRONG)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.USER_ERROR)
    assert seen.report is not None
    assert not seen.report.retry
    assert "a_module_that_does_not_exist" in str(seen.report.first_error)


def test_a_cancel_ends_every_process_and_later_hand_overs_start_nothing(place: Place) -> None:
    submission, bundle = handed_over(place, LONG)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.until(submission, lambda _: len(place.agents(submission)) == 2)
    place.backend.cancel(submission, now=False)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.ASKED_TO_STOP)
    assert place.processes(submission) == []
    place.backend.submit(submission, bundle, {})
    assert place.processes(submission) == []


def test_a_cancel_is_repeated_after_somebody_who_died_on_the_way(place: Place) -> None:
    submission, _ = handed_over(place, LONG)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.leave_word(submission)
    place.backend.cancel(submission, now=False)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.ASKED_TO_STOP)


def test_a_cancel_before_the_hand_over_lets_nothing_start(place: Place) -> None:
    submission, bundle = place.attempt(SHORT)
    place.backend.cancel(submission, now=False)
    assert place.see(submission).phase is Phase.CANCELLED
    place.backend.submit(submission, bundle, {})
    assert place.processes(submission) == []


def test_a_cancel_now_ends_processes_that_a_signal_has_stopped(place: Place) -> None:
    submission, _ = handed_over(place, LONG)
    place.until(submission, lambda _: len(place.processes(submission)) >= 4)
    for pid in place.processes(submission):
        proc.send(pid, signal.SIGSTOP)
    place.backend.cancel(submission, now=True)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert place.processes(submission) == []
    assert seen.phase in {Phase.FAILED, Phase.STOPPED}


def test_an_attempt_whose_processes_were_all_killed_is_lost(place: Place) -> None:
    submission, _ = handed_over(place, LONG)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.kill(submission)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.AGENT_LOST)


def test_an_agent_that_is_killed_alone_takes_its_ranks_with_it_and_the_others_end(place: Place) -> None:
    submission, _ = handed_over(place, LONG)
    place.until(submission, lambda _: len(place.processes(submission)) >= 4)
    agent = max(place.agents(submission))
    proc.send(agent, signal.SIGKILL)
    if place.starts_again:
        seen = place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 2)
        assert seen.phase in LIVE
        assert place.see(submission, after=0).generations[0].cause in {Cause.AGENT_LOST, Cause.NODE_LOST}
        return
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert seen.phase is Phase.FAILED
    assert seen.cause in {Cause.AGENT_LOST, Cause.NODE_LOST}  # from another machine a dead agent is a silent one
    assert seen.report is not None
    assert seen.report.retry
    assert place.processes(submission) == []


def test_an_attempt_that_is_older_than_the_newest_claim_is_fenced(place: Place) -> None:
    submission, bundle = handed_over(place, LONG, number=2)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.kill(submission)
    place.until(submission, lambda seen: seen.phase.ended)
    older = dataclasses.replace(submission, attempt=1, handle=None)
    place.made.append(older)
    older = dataclasses.replace(older, handle=place.backend.submit(older, bundle, {}))
    seen = place.until(older, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.FENCED)


def test_another_attempt_goes_on_in_another_generation(place: Place) -> None:
    submission, bundle = handed_over(place, LONG)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.kill(submission)
    again = dataclasses.replace(submission, attempt=2, handle=None)
    place.made.append(again)
    assert place.see(again).phase is Phase.PENDING
    again = dataclasses.replace(again, handle=place.backend.submit(again, bundle, {}))
    seen = place.until(again, lambda seen: seen.report is not None and seen.report.generation == 2)
    assert seen.phase in LIVE
    found = place.see(again, after=1).generations
    assert [(one.generation, one.attempt, one.resumed_step) for one in found] == [(2, 2, None)]


def test_many_attempts_are_observed_by_one_question(place: Place) -> None:
    one, _ = handed_over(place, LONG, name="one", nodes=1)
    two, _ = place.attempt(SHORT, name="two", nodes=1)
    seen = place.backend.observe([Question(submission=one), Question(submission=two)])
    assert seen.keys() == {"one", "two"}
    assert seen["one"].phase in LIVE
    assert seen["two"].phase is Phase.PENDING


def test_metrics_are_read_on_from_a_mark(place: Place) -> None:
    submission, _ = handed_over(place, METRICS)
    place.until(submission, lambda _: place.see(submission, metrics=True).metrics is not None)
    steps: list[int] = []
    mark = None

    def collect() -> None:
        nonlocal mark
        news = place.see(submission, metrics=True, mark=mark).metrics
        if news is not None:
            steps.extend(line.step for line in news.lines)
            mark = news.mark

    def ended(seen: object) -> bool:
        collect()
        return bool(getattr(seen, "phase", Phase.UNKNOWN).ended)

    place.until(submission, ended)
    collect()
    assert steps == [1, 2, 3, 4, 5]
    assert place.see(submission, metrics=True, mark=mark).metrics is None


def test_secrets_reach_the_job_and_no_file(place: Place) -> None:
    script = "import os; print('secret has', len(os.environ['TOKEN']), 'letters')"
    submission, bundle = place.attempt(script, nodes=1, secrets=("TOKEN",))
    submission = dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {"TOKEN": SECRET}))
    place.until(submission, lambda seen: seen.phase.ended)
    files = [path for path in place.directory(submission).rglob("*") if path.is_file()]
    assert any("secret has 16 letters" in path.read_text(errors="replace") for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
