"""What follows from an observation of a run. Rules are tried in their order; the first that applies decides.

What always holds: no other attempt while the last one lives or may live; UNKNOWN ends nothing; a run that ended
stays as it is; success needs the job's own marker; a cancel, by orch or outside it, never leads to another attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.model.run import Action, Cause, Decision, Observation, Phase, Report, Run
from orchestrator.policy.backoff import delay

LIVE = frozenset({Phase.QUEUED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING})
BEATING = LIVE - {Phase.QUEUED}  # where agents should be; a job that its scheduler queued again has none
# Ends that a person must look at before the run may go on; nothing that they ask for is lost.
ASKS = frozenset(cause for cause in Cause if cause.row.needs_user)
# Ends that are not the job's fault: the machine was taken away.
BLAMELESS = frozenset(cause for cause in Cause if not cause.row.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds. `handover`: how long the process that recorded an intention may take to hand it over itself."""

    handover: float = 5.0
    # Heartbeats of a live attempt stand still. Far above the minute for which a network file system may show a file as
    # it was; agents judge one another sooner.
    hung: float = 180.0
    # None was ever seen to move: what is on the disk may be of a start before this one, which boots, loads modules or
    # pulls an image.
    silent: float = 1800.0
    partial: float = 10.0  # a part of an attempt is gone and the rest lives on
    force: float = 30.0  # on top of the job's own grace, before a cancel becomes a kill


@dataclass(frozen=True, slots=True, kw_only=True)
class StallTimers:
    """What the reader's own monotonic clock says, in seconds since the attempt last changed in that respect."""

    beat_still: float = 0.0
    beat_moved: bool = True  # a heartbeat was seen to move since the attempt last left the queue
    partial: float = 0.0
    stuck: float = 0.0


LIMITS = Limits()
NOTHING_STILL = StallTimers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a rule may read. `now` is the wall clock, in seconds since the epoch."""

    run: Run
    seen: Observation
    now: float
    limits: Limits
    timers: StallTimers

    @property
    def report(self) -> Report:
        return self.seen.report or Report()

    @property
    def live(self) -> bool:
        return self.seen.phase in LIVE

    @property
    def gone(self) -> bool:
        return self.seen.phase.ended

    @property
    def waiting(self) -> bool:
        """Nothing of this attempt was handed over yet."""
        return self.seen.phase is Phase.PENDING

    @property
    def cause(self) -> Cause:
        """Why the attempt ended; the job's own record before the backend's."""
        return self.report.cause if self.report.cause is not Cause.NONE else self.seen.cause

    @property
    def began(self) -> bool:
        """The newest start is one of this very attempt."""
        return self.report.generation > 0 and self.report.attempt == self.run.attempt

    @property
    def progressed(self) -> bool:
        """The newest start, of this very attempt, has made a proven checkpoint."""
        report, newest = self.report, self.report.checkpoint
        return self.began and newest is not None and newest.proven and newest.step > (report.resumed_from or 0)

    @property
    def lost(self) -> bool:
        """The newest start, of this very attempt, ended without a record and without a new proven checkpoint."""
        return self.gone and self.began and self.report.result is None and not self.progressed

    @property
    def blameless(self) -> bool:
        if self.seen.phase is not Phase.STOPPED or self.cause not in BLAMELESS:
            return False
        # A time limit that leaves no time to save is a fault of the job's, if it does so again and again.
        return self.cause is not Cause.TIME_LIMIT or self.report.result is not None or self.progressed

    @property
    def patience(self) -> float:
        """Seconds for which heartbeats may stand still."""
        return self.limits.hung if self.timers.beat_moved else self.limits.silent

    @property
    def hung(self) -> bool:
        return self.seen.phase in BEATING and self.timers.beat_still > self.patience

    @property
    def stuck(self) -> bool:
        return self.live and bool(self.seen.stuck) and self.timers.stuck > self.seen.patience

    @property
    def ended_stuck(self) -> bool:
        """It was ended because it could not start, and has not started meanwhile."""
        return self.gone and self.run.cause is Cause.STUCK and not self.began

    @property
    def failures(self) -> int:
        """Bad ends in a row with no new proven checkpoint between them, this one among them."""
        this = 0 if self.blameless else 1
        counted = self.report.failures + (this if self.lost else 0)  # a start without a record could not count itself
        return max(counted, self.run.failures + this)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A row: its name, when it applies and what follows."""

    name: str
    when: Callable[[Situation], bool]
    then: Callable[[Situation, str], Decision]


def decide(
    run: Run, seen: Observation, now: float, limits: Limits = LIMITS, timers: StallTimers = NOTHING_STILL
) -> Decision:
    """What follows for a run from what was seen of its newest attempt."""
    situation = Situation(run=run, seen=seen, now=now, limits=limits, timers=timers)
    for rule in RULES:
        if rule.when(situation):
            return rule.then(situation, rule.name)
    raise AssertionError("the last rule applies always")


def _wait(because: str) -> Callable[[Situation, str], Decision]:
    return lambda _, rule: Decision(action=Action.WAIT, because=because, rule=rule)


def _why(at: Situation, otherwise: str) -> str:
    return at.report.because or at.seen.because or otherwise


def _finish(at: Situation, rule: str) -> Decision:
    return Decision(
        action=Action.FINISH, because=at.report.because or "training is complete", rule=rule, cause=Cause.COMPLETED
    )


def _cancelled(_: Situation, rule: str) -> Decision:
    return Decision(action=Action.FINISH, because="cancelled by its user", rule=rule, cause=Cause.CANCELLED)


def _cancelled_elsewhere(at: Situation, rule: str) -> Decision:
    because = at.seen.because or "it was cancelled outside orch"
    return Decision(action=Action.FINISH, because=because, rule=rule, cause=Cause.CANCELLED)


def _cancel(at: Situation, rule: str) -> Decision:
    asked = at.run.cancel_at if at.run.cancel_at is not None else at.now
    force = at.run.cancel_now or at.now - asked > at.run.grace + at.limits.force
    because = "its user cancelled it" + (" and it did not end in time" if force and not at.run.cancel_now else "")
    return Decision(action=Action.CANCEL, because=because, rule=rule, cause=Cause.CANCELLED, force=force)


def _hung(at: Situation, rule: str) -> Decision:
    because = f"no heartbeat for {at.patience:.0f} s"
    return Decision(action=Action.CANCEL, because=because, rule=rule, cause=Cause.HUNG, force=True)


def _partial(at: Situation, rule: str) -> Decision:
    because = f"{at.seen.partial}, and the rest did not end within {at.limits.partial:.0f} s"
    return Decision(action=Action.CANCEL, because=because, rule=rule, cause=Cause.AGENT_LOST, force=True)


def _unstick(at: Situation, rule: str) -> Decision:
    because = f"it could not start within {at.seen.patience:.0f} s: {at.seen.stuck}"
    return Decision(action=Action.CANCEL, because=because, rule=rule, cause=Cause.STUCK, force=True)


def _still_stuck(at: Situation, rule: str) -> Decision:
    return Decision(action=Action.STOP, because=at.run.because, rule=rule, cause=Cause.STUCK)


def _submit(_: Situation, rule: str) -> Decision:
    return Decision(action=Action.SUBMIT, because="the attempt is recorded and was not handed over", rule=rule)


def _stop(at: Situation, rule: str) -> Decision:
    return Decision(action=Action.STOP, because=_why(at, "the run needs its user"), rule=rule, cause=at.cause)


def _give_up(at: Situation, rule: str) -> Decision:
    because = _why(at, "another attempt would end the same way")
    return Decision(action=Action.GIVE_UP, because=because, rule=rule, cause=_known(at.cause))


def _spent(at: Situation, rule: str) -> Decision:
    because = f"{at.failures} failures in a row without a new proven checkpoint; the last: {_why(at, at.cause.value)}"
    return Decision(action=Action.GIVE_UP, because=because, rule=rule, cause=_known(at.cause))


def _again(at: Situation, rule: str) -> Decision:
    wait = 0.0 if at.blameless else delay(at.failures, at.run.name)
    because = _why(at, f"attempt {at.run.attempt} ended: {at.cause.value}")
    return Decision(
        action=Action.RESUBMIT, because=because, rule=rule, cause=_known(at.cause), not_before=at.now + wait
    )


def _known(cause: Cause) -> Cause:
    return Cause.UNKNOWN if cause is Cause.NONE else cause


def is_due(run: Run, now: float, limits: Limits = LIMITS) -> bool:
    """Whether it is time to hand over the attempt whose intention is recorded."""
    if run.not_before is not None:
        return now >= run.not_before
    # No such time: `orch submit` or `orch resume` recorded the intention and hands over itself, if it lives.
    return run.intended_at is None or now - run.intended_at >= limits.handover


RULES: tuple[Rule, ...] = (
    Rule(name="ended", when=lambda at: at.run.phase.ended, then=_wait("the run has ended")),
    Rule(
        name="unknown",
        when=lambda at: at.seen.phase is Phase.UNKNOWN,
        then=_wait("the state of the attempt is not known"),
    ),
    Rule(name="success", when=lambda at: at.gone and at.report.success, then=_finish),
    Rule(name="cancelled", when=lambda at: at.run.cancel_requested and at.gone, then=_cancelled),
    Rule(name="cancel", when=lambda at: at.run.cancel_requested, then=_cancel),
    Rule(name="hand-over", when=lambda at: at.waiting and is_due(at.run, at.now, at.limits), then=_submit),
    Rule(name="not-yet", when=lambda at: at.waiting, then=_wait("it is not yet time to hand the attempt over")),
    Rule(name="hung", when=lambda at: at.hung, then=_hung),
    Rule(
        name="partial",
        when=lambda at: at.live and bool(at.seen.partial) and at.timers.partial > at.limits.partial,
        then=_partial,
    ),
    Rule(name="stuck", when=lambda at: at.stuck, then=_unstick),
    Rule(name="live", when=lambda at: at.live, then=_wait("the attempt lives")),
    Rule(name="ended-stuck", when=lambda at: at.ended_stuck, then=_still_stuck),
    Rule(name="cancelled-elsewhere", when=lambda at: at.seen.phase is Phase.CANCELLED, then=_cancelled_elsewhere),
    Rule(name="ask", when=lambda at: at.cause in ASKS, then=_stop),
    Rule(name="hopeless", when=lambda at: at.report.result is not None and not at.report.retry, then=_give_up),
    Rule(name="memory", when=lambda at: at.cause is Cause.HOST_OOM and not at.progressed, then=_give_up),
    Rule(name="stopped", when=lambda at: at.blameless, then=_again),
    Rule(name="spent", when=lambda at: at.failures > at.run.max_failures, then=_spent),
    Rule(name="again", when=lambda _: True, then=_again),
)
