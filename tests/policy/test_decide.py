"""decide(): the laws that hold for every run and every observation, and the rules one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.run import Action, Cause, CheckpointRef, Observation, Phase, Report, Run
from orchestrator.policy.backoff import LONGEST, delay
from orchestrator.policy.rules import LIVE, RULES, Limits, StallTimers, decide

NOW = 1000.0
GONE = [phase for phase in Phase if phase.ended]

REPORTS = st.none() | st.builds(
    Report,
    attempt=st.integers(0, 3),
    generation=st.integers(0, 5),
    success=st.booleans(),
    result=st.sampled_from([None, "success", "stopped", "failed", "fenced"]),
    cause=st.sampled_from(Cause),
    retry=st.booleans(),
    failures=st.integers(0, 9),
    beat=st.integers(0, 9),
)
OBSERVATIONS = st.builds(
    Observation,
    phase=st.sampled_from(Phase),
    cause=st.sampled_from(Cause),
    report=REPORTS,
    partial=st.sampled_from(["", "the agent of node 1 is gone"]),
    stuck=st.sampled_from(["", "ImagePullBackOff"]),
    patience=st.floats(0, 999),
)
RUNS = st.builds(
    Run,
    name=st.just("a"),
    run_id=st.just("i"),
    cluster=st.just("local"),
    spec_digest=st.just("d"),
    dir=st.just("/d"),
    checkpoint_dir=st.just("/c"),
    metrics=st.just("/m"),
    submitted_at=st.just(1.0),
    phase=st.sampled_from(Phase),
    attempt=st.integers(1, 3),
    cancel_requested=st.booleans(),
    cancel_at=st.none() | st.floats(0, NOW),
    cancel_now=st.booleans(),
    intended_at=st.none() | st.floats(0, NOW),
    not_before=st.none() | st.floats(0, 2 * NOW),
    failures=st.integers(0, 9),
    max_failures=st.integers(0, 5),
)
WATCHED = st.builds(
    StallTimers,
    beat_still=st.floats(0, 9999),
    beat_moved=st.booleans(),
    partial=st.floats(0, 999),
    stuck=st.floats(0, 999),
)


@given(RUNS, OBSERVATIONS, WATCHED)
def test_there_is_never_a_second_live_attempt(run: Run, seen: Observation, watched: StallTimers) -> None:
    action = decide(run, seen, NOW, timers=watched).action
    if action is Action.RESUBMIT:
        assert seen.phase in GONE
    if action is Action.SUBMIT:
        assert seen.phase is Phase.PENDING


@given(RUNS, OBSERVATIONS, WATCHED)
def test_only_what_is_seen_to_be_over_ends_a_run(run: Run, seen: Observation, watched: StallTimers) -> None:
    if decide(run, seen, NOW, timers=watched).action in {Action.FINISH, Action.GIVE_UP, Action.STOP}:
        assert seen.phase in GONE


@given(RUNS, OBSERVATIONS, WATCHED)
def test_not_knowing_changes_nothing(run: Run, seen: Observation, watched: StallTimers) -> None:
    if seen.phase is Phase.UNKNOWN:
        assert decide(run, seen, NOW, timers=watched).action is Action.WAIT


@given(RUNS, OBSERVATIONS, WATCHED)
def test_a_run_that_ended_stays_as_it_is(run: Run, seen: Observation, watched: StallTimers) -> None:
    if run.phase.ended:
        assert decide(run, seen, NOW, timers=watched).action is Action.WAIT


@given(RUNS, OBSERVATIONS)
def test_success_needs_the_marker_and_nothing_alive(run: Run, seen: Observation) -> None:
    decision = decide(run, seen, NOW)
    if decision.action is Action.FINISH and decision.cause is Cause.COMPLETED:
        assert seen.report is not None
        assert seen.report.success
        assert seen.phase in GONE


@given(RUNS, OBSERVATIONS, WATCHED)
def test_a_cancel_leads_to_an_end_and_never_to_another_attempt(
    run: Run, seen: Observation, watched: StallTimers
) -> None:
    if not run.cancel_requested or run.phase.ended:
        return
    decision = decide(run, seen, NOW, timers=watched)
    if seen.phase in GONE:
        complete = seen.report is not None and seen.report.success
        assert decision.action is Action.FINISH
        assert decision.cause is (Cause.COMPLETED if complete else Cause.CANCELLED)
    elif seen.phase is Phase.UNKNOWN:
        assert decision.action is Action.WAIT
    else:
        assert decision.action is Action.CANCEL


@given(RUNS, OBSERVATIONS, WATCHED)
def test_a_cancel_past_orch_never_leads_to_another_attempt(run: Run, seen: Observation, watched: StallTimers) -> None:
    if seen.phase is Phase.CANCELLED and not run.phase.ended:
        decision = decide(run, seen, NOW, timers=watched)
        assert decision.action is Action.FINISH


@given(RUNS, OBSERVATIONS, WATCHED)
def test_what_its_scheduler_has_in_the_queue_is_left_there(run: Run, seen: Observation, watched: StallTimers) -> None:
    if seen.phase is Phase.QUEUED and not seen.partial and not seen.stuck and not run.cancel_requested:
        assert decide(run, seen, NOW, timers=watched).action is Action.WAIT


@given(RUNS, OBSERVATIONS)
def test_more_failures_than_allowed_end_a_run_with_its_cause(run: Run, seen: Observation) -> None:
    failures = max(run.failures, seen.report.failures if seen.report else 0)
    decision = decide(run, seen, NOW)
    if failures > run.max_failures and decision.action is Action.RESUBMIT:
        assert decision.rule == "stopped"
    if decision.action is Action.GIVE_UP:
        assert decision.cause is not Cause.NONE
        assert decision.because


@given(RUNS, OBSERVATIONS, WATCHED)
def test_every_decision_names_its_rule_and_says_why(run: Run, seen: Observation, watched: StallTimers) -> None:
    decision = decide(run, seen, NOW, timers=watched)
    assert decision.because
    assert decision.rule in {rule.name for rule in RULES}


def a_run(**fields: object) -> Run:
    base = {
        "name": "a",
        "run_id": "i",
        "cluster": "local",
        "spec_digest": "d",
        "dir": "/d",
        "checkpoint_dir": "/c",
        "metrics": "/m",
        "submitted_at": 1.0,
        "intended_at": NOW - 2,
        "phase": Phase.RUNNING,
    }
    return Run(**{**base, **fields})


def ended(phase: Phase, cause: Cause, result: str | None = "failed", **report: object) -> Observation:
    return Observation(phase=phase, cause=cause, report=Report(result=result, cause=cause, **report))


@pytest.mark.parametrize(
    ("run", "seen", "rule", "action"),
    [
        (a_run(), Observation(phase=Phase.PENDING), "not-yet", Action.WAIT),
        (a_run(intended_at=NOW - 9), Observation(phase=Phase.PENDING), "hand-over", Action.SUBMIT),
        (a_run(attempt=2), Observation(phase=Phase.PENDING), "not-yet", Action.WAIT),
        (a_run(attempt=2, not_before=NOW), Observation(phase=Phase.PENDING), "hand-over", Action.SUBMIT),
        (a_run(attempt=2, not_before=NOW + 1), Observation(phase=Phase.PENDING), "not-yet", Action.WAIT),
        (a_run(), Observation(phase=Phase.FAILED, cause=Cause.AGENT_LOST), "again", Action.RESUBMIT),
        (a_run(), ended(Phase.FAILED, Cause.USER_ERROR, retry=False), "hopeless", Action.GIVE_UP),
        (a_run(failures=5), ended(Phase.FAILED, Cause.RANK_KILLED), "spent", Action.GIVE_UP),
        (a_run(failures=4), ended(Phase.FAILED, Cause.RANK_KILLED), "again", Action.RESUBMIT),
        (a_run(failures=9), ended(Phase.STOPPED, Cause.ASKED_TO_STOP, "stopped"), "stopped", Action.RESUBMIT),
        (a_run(), ended(Phase.STOPPED, Cause.FENCED, "fenced"), "ask", Action.STOP),
        (a_run(), ended(Phase.FAILED, Cause.NO_PROVEN_CHECKPOINT, retry=False), "ask", Action.STOP),
    ],
)
def test_rules_one_by_one(run: Run, seen: Observation, rule: str, action: Action) -> None:
    decision = decide(run, seen, NOW)
    assert (decision.rule, decision.action) == (rule, action)


PROGRESS = {
    "generation": 1,
    "attempt": 1,
    "resumed_from": 10,
    "checkpoint": CheckpointRef(step=20, path="c", proven=True),
}
NO_PROGRESS = {**PROGRESS, "resumed_from": 20}


def gone(phase: Phase, cause: Cause, **report: object) -> Observation:
    """What a scheduler alone says of an end: the job left no word of it."""
    return Observation(phase=phase, cause=cause, report=Report(**report))


@pytest.mark.parametrize(
    ("run", "seen", "rule", "action"),
    [
        pytest.param(
            a_run(), gone(Phase.FAILED, Cause.NODE_LOST), "again", Action.RESUBMIT, id="a-node-lost-and-no-requeue"
        ),
        pytest.param(
            a_run(failures=5),
            gone(Phase.STOPPED, Cause.PREEMPTED),
            "stopped",
            Action.RESUBMIT,
            id="preempted-where-that-ends-a-job",
        ),
        pytest.param(
            a_run(failures=5),
            gone(Phase.STOPPED, Cause.TIME_LIMIT, **PROGRESS),
            "stopped",
            Action.RESUBMIT,
            id="the-time-limit-after-progress",
        ),
        pytest.param(
            a_run(), gone(Phase.STOPPED, Cause.TIME_LIMIT, **NO_PROGRESS), "again", Action.RESUBMIT, id="without-any"
        ),
        pytest.param(
            a_run(attempt=2), gone(Phase.STOPPED, Cause.TIME_LIMIT, **PROGRESS), "again", Action.RESUBMIT, id="of-old"
        ),
        pytest.param(
            a_run(failures=5),
            gone(Phase.STOPPED, Cause.TIME_LIMIT, **NO_PROGRESS),
            "spent",
            Action.GIVE_UP,
            id="a-time-limit-shorter-than-the-way-to-a-checkpoint",
        ),
        pytest.param(
            a_run(),
            gone(Phase.FAILED, Cause.NODE_LOST, **NO_PROGRESS, failures=5),
            "spent",
            Action.GIVE_UP,
            id="a-start-that-left-no-word-after-as-many-failures-as-are-allowed",
        ),
        pytest.param(
            a_run(failures=5),
            ended(Phase.STOPPED, Cause.ASKED_TO_STOP, "stopped"),
            "stopped",
            Action.RESUBMIT,
            id="asked",
        ),
        pytest.param(
            a_run(), gone(Phase.FAILED, Cause.HOST_OOM, **NO_PROGRESS), "memory", Action.GIVE_UP, id="out-of-memory"
        ),
        pytest.param(
            a_run(), gone(Phase.FAILED, Cause.HOST_OOM, **PROGRESS), "again", Action.RESUBMIT, id="memory-ran-out-later"
        ),
        pytest.param(
            a_run(),
            gone(Phase.CANCELLED, Cause.CANCELLED, result="stopped"),
            "cancelled-elsewhere",
            Action.FINISH,
            id="scancel",
        ),
        pytest.param(
            a_run(), Observation(phase=Phase.QUEUED, cause=Cause.NODE_LOST), "live", Action.WAIT, id="requeued"
        ),
    ],
)
def test_what_a_scheduler_alone_can_say(run: Run, seen: Observation, rule: str, action: Action) -> None:
    decision = decide(run, seen, NOW)
    assert (decision.rule, decision.action) == (rule, action)


def test_a_cancel_past_orch_is_told_in_the_schedulers_words() -> None:
    report = Report(result="stopped", cause=Cause.ASKED_TO_STOP, because="all ranks saved step 20 and left")
    seen = Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, because="alice cancelled the job", report=report)
    decision = decide(a_run(), seen, NOW)
    assert (decision.cause, decision.because) == (Cause.CANCELLED, "alice cancelled the job")


def test_heartbeats_of_an_earlier_start_are_no_sign_of_a_hang() -> None:
    limits, seen = Limits(hung=60, silent=600), Observation(phase=Phase.STARTING, report=Report(beat=7))
    old = StallTimers(beat_still=599, beat_moved=False)
    assert decide(a_run(), seen, NOW, limits, old).action is Action.WAIT
    assert decide(a_run(), seen, NOW, limits, StallTimers(beat_still=601, beat_moved=False)).cause is Cause.HUNG
    queued = Observation(phase=Phase.QUEUED, report=Report(beat=7))
    assert decide(a_run(), queued, NOW, limits, StallTimers(beat_still=9999)).action is Action.WAIT


def test_heartbeats_that_stand_still_end_the_attempt_by_force() -> None:
    seen = Observation(phase=Phase.RUNNING, report=Report(beat=7))
    decision = decide(a_run(), seen, NOW, Limits(hung=60), StallTimers(beat_still=61))
    assert (decision.action, decision.cause, decision.force) == (Action.CANCEL, Cause.HUNG, True)
    assert decide(a_run(), seen, NOW, Limits(hung=60), StallTimers(beat_still=59)).action is Action.WAIT


STUCK = Observation(phase=Phase.QUEUED, stuck="ImagePullBackOff: gone", patience=600)


def test_what_cannot_start_is_waited_for_and_then_ended() -> None:
    assert decide(a_run(), STUCK, NOW, timers=StallTimers(stuck=599.0)).action is Action.WAIT
    decision = decide(a_run(), STUCK, NOW, timers=StallTimers(stuck=601.0))
    assert (decision.action, decision.cause, decision.rule) == (Action.CANCEL, Cause.STUCK, "stuck")
    assert "ImagePullBackOff: gone" in decision.because


def test_a_run_whose_attempt_was_ended_for_being_stuck_needs_its_user() -> None:
    stopping = a_run(phase=Phase.STOPPING, cause=Cause.STUCK, because="it could not start: gone")
    decision = decide(stopping, Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED), NOW)
    assert (decision.action, decision.cause, decision.because) == (Action.STOP, Cause.STUCK, stopping.because)


def test_why_it_was_ended_is_not_forgotten_while_nobody_answers() -> None:
    unknown = a_run(phase=Phase.UNKNOWN, cause=Cause.STUCK, because="it could not start: gone")
    seen = Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, because="cancelled before it began")
    decision = decide(unknown, seen, NOW)
    assert (decision.action, decision.cause, decision.because) == (Action.STOP, Cause.STUCK, unknown.because)


def test_an_attempt_that_began_while_it_was_ended_for_being_stuck_goes_on() -> None:
    stopping = a_run(phase=Phase.STOPPING, cause=Cause.STUCK, because="it could not start: gone")
    began = Report(attempt=1, generation=1, result="stopped", cause=Cause.ASKED_TO_STOP)
    seen = Observation(phase=Phase.STOPPED, cause=Cause.ASKED_TO_STOP, report=began)
    assert decide(stopping, seen, NOW).action is Action.RESUBMIT


def test_a_cancel_becomes_a_kill_after_the_jobs_own_grace() -> None:
    seen = Observation(phase=Phase.STOPPING)
    polite = decide(a_run(cancel_requested=True, cancel_at=NOW - 900, grace=900), seen, NOW)
    assert (polite.action, polite.force) == (Action.CANCEL, False)
    late = decide(a_run(cancel_requested=True, cancel_at=NOW - 931, grace=900), seen, NOW)
    assert late.force
    assert decide(a_run(cancel_requested=True, cancel_now=True), seen, NOW).force


@given(st.integers(0, 10_000), st.text(max_size=5))
def test_the_wait_before_another_attempt_grows_and_is_bounded(failures: int, seed: str) -> None:
    wait = delay(failures, seed)
    assert 0 <= wait <= LONGEST
    if failures <= 1:
        assert wait == 0
    assert delay(failures + 1, seed) >= wait or wait > LONGEST * 0.7
    assert all(phase not in LIVE for phase in GONE)
