"""reconcile(): the events and the command that follow for a run from one observation of its newest attempt. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.job.checkpoints.layout import generation_of
from orchestrator.job.protocol.encoding import to_json
from orchestrator.model.cluster import BadNodes
from orchestrator.model.fold import fold
from orchestrator.model.run import (
    Action,
    Cause,
    Decision,
    Event,
    EventData,
    Generation,
    Observation,
    Phase,
    Report,
    Run,
)
from orchestrator.policy import nodes
from orchestrator.policy.attempts import intention, next_submission, submission_of
from orchestrator.policy.nodes import NodeRecord
from orchestrator.policy.rules import LIMITS, LIVE, NOTHING_STILL, Limits, StallTimers, decide

NewEvent = tuple[str, EventData]  # kind and data

# The event that records the phase of a live attempt.
PHASE_EVENTS: Mapping[Phase, str] = {
    Phase.QUEUED: "queued",
    Phase.STARTING: "started",
    Phase.RUNNING: "running",
    Phase.UNKNOWN: "unreachable",
}
_END_EVENTS: Mapping[Action, str] = {Action.STOP: "stopped", Action.GIVE_UP: "failed"}
_FINISHED: Mapping[Cause, str] = {Cause.COMPLETED: "succeeded", Cause.CANCELLED: "cancelled"}


class Command(StrEnum):
    """What to do once the events are recorded. Each may be repeated."""

    SUBMIT = "submit"
    CANCEL = "cancel"  # let it save and end
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run's observation is judged by, beside the run. Only `node_records` outlive the process that holds it."""

    timers: StallTimers = NOTHING_STILL
    reason: str | None = None  # the newest one recorded that the cluster gave for the attempt's phase
    ended: str | None = None  # why the newest start of the attempt ended; None: it has not
    node_records: Sequence[NodeRecord] = ()
    bad_nodes: BadNodes = nodes.USUAL
    hosts: Sequence[str] | None = ()  # the cluster's nodes; None: it does not list them now


def reconcile(
    run: Run, seen: Observation, evidence: Evidence, now: float, limits: Limits = LIMITS
) -> tuple[tuple[NewEvent, ...], Command | None]:
    """The events to record, all or none, and the command to carry out then. `now` is the wall clock."""
    if run.phase.ended:
        return (), None
    events = [
        *_generations(run, seen),
        *_notes(run, seen),
        *_checkpoint(run, seen, evidence),
        *_phase(run, seen, evidence),
    ]
    for kind, data in events:
        run = fold(run, Event(run=run.name, kind=kind, at=now, data=data))
    decision = decide(run, seen, now, limits, evidence.timers)
    more, command = _apply(run, seen, evidence, decision, now)
    return (*events, *more), command


def current(run: Run, seen: Observation) -> EventData:
    """The values of a run that move with every step and differ from those on record: no event is made of them."""
    known, values = to_json(run.progress), to_json(seen.report.progress if seen.report else run.progress)
    return {name: value for name, value in values.items() if value is not None and known[name] != value}


def needs_nodes(run: Run, seen: Observation) -> bool:
    """Whether the evidence against nodes may decide what follows, or be cleared by it."""
    checkpoint = seen.report.checkpoint if seen.report else None
    return not run.phase.ended and (seen.phase.ended or checkpoint != run.checkpoint)


def _generations(run: Run, seen: Observation) -> list[NewEvent]:
    """For each new generation: how the one before it in the same attempt ended, and what it started from.

    How the last generation of an attempt ended is in the event that ends the attempt.
    """
    events: list[NewEvent] = []
    before: Generation | None = None
    for one in seen.generations:
        if one.generation > run.generation:
            if before is not None and before.attempt == one.attempt:
                events.append(("generation_ended", _end_of(before)))
            events.append(("generation", _start_of(one)))
        before = one
    return events


def _end_of(one: Generation) -> EventData:
    """`result` is None where it left no outcome. No key is a run's field that would change: the run goes on."""
    return {
        "generation": one.generation,
        "of_attempt": one.attempt,
        "result": one.result,
        "ended_by": one.cause.value if one.cause is not None else None,
        "ended_because": one.because,
        "host": one.host,
    }


def _start_of(one: Generation) -> EventData:
    return {
        "generation": one.generation,
        "of_attempt": one.attempt,
        "began": one.began,
        "resumed_step": one.resumed_step,
        "resumed_path": one.resumed_path,
        "rejected": [to_json(checkpoint) for checkpoint in one.rejected],
    }


def _notes(run: Run, seen: Observation) -> list[NewEvent]:
    """What rank 0 of the newest generation has said since it was last seen."""
    report = seen.report
    if report is None or not report.notes:
        return []
    known = run.notes if run.noted_generation == report.generation else ()
    news = report.notes[len(known) :]
    data = {"notes": list(report.notes), "noted_generation": report.generation, "news": list(news)}
    return [("noted", data)] if news else []


def _checkpoint(run: Run, seen: Observation, evidence: Evidence) -> list[NewEvent]:
    """An event for another newest checkpoint; a newer proven one ends a row of failures."""
    newest = seen.report.checkpoint if seen.report else None
    if newest is None or newest == run.checkpoint:
        return []
    data: dict[str, object] = {"checkpoint": to_json(newest)}
    if newest.proven and (run.checkpoint is None or newest.step > run.checkpoint.step):
        data["failures"] = 0
        data.update(_well(seen, evidence, generation_of(newest.path)))
    return [("checkpoint", data)]


def _well(seen: Observation, evidence: Evidence, generation: int) -> EventData:
    """The machines of a generation that went well, for an event; only if there is evidence that it may clear."""
    hosts = next((one.hosts for one in seen.generations if one.generation == generation), ())
    return {"well": {"generation": generation, "hosts": list(hosts)}} if hosts and evidence.node_records else {}


def _phase(run: Run, seen: Observation, evidence: Evidence) -> list[NewEvent]:
    """An event for another phase of a live attempt, or another reason why it is where it is: waits, is suspended."""
    kind = PHASE_EVENTS.get(seen.phase)
    if kind is None or (seen.phase is run.phase and not _has_another_reason(run, seen, evidence)):
        return []
    if run.phase is Phase.STOPPING and seen.phase in LIVE:
        return []  # what was asked to stop is stopping until it is gone
    if run.phase is Phase.RUNNING and seen.phase is Phase.STARTING and evidence.ended is not None:
        return []  # its start has ended: what follows is another start, or a place in the queue
    data: dict[str, object] = {"because": seen.because, "raw": seen.raw}
    if seen.phase is not Phase.UNKNOWN:
        data["cause"] = Cause.NONE.value
    if seen.phase is Phase.QUEUED and run.phase in {Phase.STARTING, Phase.RUNNING}:
        data.update(again=True, because=seen.because or evidence.ended or "")
    return [(kind, data)]


def _has_another_reason(run: Run, seen: Observation, evidence: Evidence) -> bool:
    """Also when there is none any more, where the last one was the scheduler's."""
    if seen.because == run.because or (seen.phase is Phase.UNKNOWN and not seen.bug):
        return False
    return bool(seen.because) or run.because == evidence.reason


def _apply(
    run: Run, seen: Observation, evidence: Evidence, decision: Decision, now: float
) -> tuple[Sequence[NewEvent], Command | None]:
    why = {"cause": decision.cause.value, "because": decision.because, "rule": decision.rule}
    if decision.action is Action.SUBMIT:
        return (), Command.SUBMIT
    if decision.action is Action.CANCEL:
        known = run.phase is Phase.STOPPING and run.because == decision.because
        return () if known else [("stopping", why)], Command.KILL if decision.force else Command.CANCEL
    if decision.action is Action.RESUBMIT:
        return _resubmit(run, seen, evidence, decision, now)
    if decision.action is Action.WAIT:
        return (), None
    end: dict[str, object] = {**why, **current(run, seen)}
    if decision.cause is Cause.COMPLETED:
        end.update(_well(seen, evidence, seen.report.generation if seen.report else 0))
    elif decision.action is not Action.FINISH:
        end.update(_where(run, seen, decision))
    return [(_END_EVENTS.get(decision.action) or _FINISHED[decision.cause], end)], None


def _where(run: Run, seen: Observation, decision: Decision) -> EventData:
    """The first error of an attempt that ended, and the machine that the attempt's own records name for the cause."""
    report = seen.report or Report()
    named = report.attempt == run.attempt and report.cause is decision.cause
    error = to_json(report.first_error) if report.first_error is not None else None
    return {"first_error": error, "host": report.host if named else None}


def _resubmit(
    run: Run, seen: Observation, evidence: Evidence, decision: Decision, now: float
) -> tuple[Sequence[NewEvent], Command | None]:
    lost = {
        "cause": decision.cause.value,
        "because": decision.because,
        "rule": decision.rule,
        "failures": run.failures + (0 if seen.phase is Phase.STOPPED and decision.rule == "stopped" else 1),
        **_where(run, seen, decision),
        "raw": seen.raw,
    }
    blamed = nodes.blame(run, Event(run=run.name, kind="lost", at=now, data=lost))
    records = nodes.with_news(evidence.node_records, blamed)
    if evidence.hosts is None and records:
        return (), None  # which nodes it shall not get is not known yet
    needed = submission_of(run).nodes
    without = nodes.leave_out(records, evidence.bad_nodes, now, hosts=evidence.hosts or (), needed=needed)
    following = next_submission(run, without=without, **_not_yet_obeyed(run, seen))
    again = {**intention(following, without), "not_before": decision.not_before}
    due = decision.not_before is None or decision.not_before <= now
    return [("lost", lost), ("resubmitting", again)], Command.SUBMIT if due else None


def _not_yet_obeyed(run: Run, seen: Observation) -> EventData:
    """The user's starting point of an attempt that never started."""
    asked = submission_of(run)
    attempts = {seen.report.attempt if seen.report else 0, *(one.attempt for one in seen.generations)}
    return {} if asked.attempt in attempts else {"from_step": asked.from_step, "from_scratch": asked.from_scratch}
