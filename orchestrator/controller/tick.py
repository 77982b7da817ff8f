"""tick(): read, decide, apply, record. Level-triggered: what a kill at any line loses, the next tick sees again.

What a process remembers between ticks (TickCache) only says how long something has stood still and what need not be
read again; forgetting it delays a decision and changes none.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.clusters import Backend
from orchestrator.errors import ClusterError, OrchError, StoreError, Unreachable
from orchestrator.job.checkpoints.layout import generation_of
from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import (
    Action,
    Cause,
    Decision,
    Event,
    Generation,
    Mark,
    Metrics,
    Observation,
    Phase,
    Question,
    Report,
    Run,
)
from orchestrator.policy import nodes
from orchestrator.policy.rules import LIMITS, LIVE, Limits, StallTimers, decide, is_due
from orchestrator.runs.dispatch import dispatch, excluded, intention, next_submission, submission_of
from orchestrator.store import Lease, Store, mirror
from orchestrator.store.codec import checkpoint_to_dict
from orchestrator.system import failpoints

RENEW_SECONDS = 2.0
ASK_AGAIN_SECONDS = 10.0  # before a cluster is asked once more to end the same attempt
# The event that tells of a live attempt's phase.
_TOLD: Mapping[Phase, str] = {
    Phase.QUEUED: "queued",
    Phase.STARTING: "started",
    Phase.RUNNING: "running",
    Phase.UNKNOWN: "unreachable",
}
_ENDS: Mapping[Action, str] = {Action.STOP: "stopped", Action.GIVE_UP: "failed"}


@dataclass(slots=True, kw_only=True)
class Unchanged:
    """A value and the moment since which it has stood still, on this process' monotonic clock.

    `moved`: it was seen to change, and is not just what was found.
    """

    value: object
    since: float
    moved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """When a cluster was last asked, on this process' monotonic clock, and what was recorded of its runs then."""

    at: float
    recorded: Mapping[str, object]


@dataclass(slots=True)
class TickCache:
    """What one controller process remembers of its runs between ticks.

    `silent` are clusters that left a request of this very tick unanswered: each may wait until a time-out, so the rest
    is for the next tick. `asked` is what each run's attempt was asked last, and when; `reasons` what its cluster said
    last of why it is where it is, `ends` why the newest start of its attempt ended, `unmirrored` what kept its metrics
    from being written here, `bugs` what of orch's own went wrong with it.
    """

    still: dict[tuple[str, str], Unchanged] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    last_steps: dict[str, int] = field(default_factory=dict)
    looks: dict[str, LastLook] = field(default_factory=dict)
    asked: dict[str, tuple[object, float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    unmirrored: dict[str, str] = field(default_factory=dict)
    bugs: dict[str, str] = field(default_factory=dict)

    def standing(self, run: str, what: str, value: object, monotonic: float) -> Unchanged:
        """Since when `what` of a run has had this value."""
        known = self.still.get((run, what))
        if known is None or known.value != value:
            self.still[run, what] = known = Unchanged(value=value, since=monotonic, moved=known is not None)
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class TickContext:
    """What a tick works with. `backend` gives the backend of a cluster by its name, or raises OrchError."""

    store: Store
    backend: Callable[[str], Backend]
    environment: Mapping[str, str]
    lease: Lease
    cache: TickCache
    limits: Limits = LIMITS
    bad_nodes: Callable[[], BadNodes] = BadNodes  # when nodes are left out, by the configuration as it is now


def tick(context: TickContext) -> int:
    """Look after the runs whose turn it is; how many have not ended. Raises LeaseLostError and StoreError."""
    unfinished = context.store.unfinished()
    context.cache.silent.clear()
    runs = [run for theirs in _by_cluster(unfinished) if _is_turn(context, theirs) for run in theirs]
    seen = observe(context, runs)
    context.store.renew_lease(context.lease)
    renewed = time.monotonic()
    current: dict[str, dict[str, Any]] = {}
    lost: set[str] = set()  # clusters that were lost after they had answered: each further question is a time-out
    for run in runs:
        if run.cluster in lost:
            continue
        if time.monotonic() - renewed > RENEW_SECONDS:
            context.store.renew_lease(context.lease)
            renewed = time.monotonic()
        try:
            current[run.name] = _current(run, seen[run.name].report)
            _look_after(context, run, seen[run.name])
        except StoreError:
            raise
        except (OrchError, OSError) as error:
            print(f"{run.name}: {error}", file=sys.stderr, flush=True)
            if isinstance(error, Unreachable):
                lost.add(run.cluster)
        except Exception as error:  # noqa: BLE001 - a bug that one run meets must not end the care for all others
            _tell_bug(context.cache, run.name, error)
    context.store.update({name: values for name, values in current.items() if values}, lease=context.lease)
    return len(unfinished)


def _tell_bug(cache: TickCache, run: str, error: Exception) -> None:
    """In the controller's log with its traceback, once until it is another one."""
    words = f"{type(error).__name__}: {error}"
    if cache.bugs.get(run) == words:
        return
    cache.bugs[run] = words
    print(f"{run}: a bug in orch: {words}", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()


def _by_cluster(runs: Sequence[Run]) -> list[list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.cluster, []).append(run)
    return list(found.values())


def _is_turn(context: TickContext, runs: Sequence[Run]) -> bool:
    """Whether it is time to ask a cluster about its runs: at its own pace, or at once where something is new or due."""
    cluster = runs[0].cluster
    try:
        pace = context.backend(cluster).pace
    except (OrchError, OSError):
        pace = 0.0  # `observe` finds the same, and tells
    last = context.cache.looks.get(cluster)
    if last is None or time.monotonic() - last.at >= pace:
        return True
    now = time.time()
    return any(
        last.recorded.get(run.name) != _recorded(run)
        or (run.phase is Phase.PENDING and is_due(run, now, context.limits))
        for run in runs
    )


def _recorded(run: Run) -> object:
    """What changes when a run was submitted, handed over, resumed or cancelled."""
    handle = run.submission.handle if run.submission is not None else None
    return run.attempt, handle, run.intended_at, run.cancel_requested, run.cancel_now


def observe(context: TickContext, runs: Sequence[Run]) -> dict[str, Observation]:
    """One question to each cluster for all of its runs. A cluster that does not answer leaves its runs UNKNOWN."""
    seen: dict[str, Observation] = {}
    for theirs in _by_cluster(runs):
        cluster, questions = theirs[0].cluster, [_question(context.cache, run) for run in theirs if run.submission]
        context.store.renew_lease(context.lease)
        try:
            seen.update(context.backend(cluster).observe(questions))
        except (OrchError, OSError) as error:
            unknown = Observation(phase=Phase.UNKNOWN, because=str(error))
            seen.update({run.name: unknown for run in theirs})
        except Exception as error:  # noqa: BLE001 - nor may one that a cluster meets
            _tell_bug(context.cache, cluster, error)
            unknown = Observation(
                phase=Phase.UNKNOWN, because=f"a bug in orch, told in the controller's log: {error!r}"
            )
            seen.update({run.name: unknown for run in theirs})
        recorded = {run.name: _recorded(run) for run in theirs}
        context.cache.looks[cluster] = LastLook(at=time.monotonic(), recorded=recorded)
    nothing = Observation(phase=Phase.UNKNOWN, because="there is no word of it")
    return {run.name: seen.get(run.name, nothing) for run in runs}


def _question(cache: TickCache, run: Run) -> Question:
    """Asks for the newest recorded generation again: it may have ended since, and its machines may have done well."""
    mark = cache.marks.get(run.name)
    return Question(submission=submission_of(run), after=run.generation - 1, metrics=True, mark=mark)


def _look_after(context: TickContext, run: Run, seen: Observation) -> None:
    if seen.phase is not Phase.UNKNOWN:
        _mirror_if_possible(context, run, seen.metrics)
        failpoints.failpoint("controller.mirrored")
    run = _record_seen(context, run, seen)
    decision = decide(run, seen, time.time(), context.limits, _watch(context.cache, run, seen))
    _apply(context, run, seen, decision)


def _watch(cache: TickCache, run: Run, seen: Observation) -> StallTimers:
    now = time.monotonic()
    report = seen.report or Report()
    if seen.phase in {Phase.QUEUED, Phase.UNKNOWN}:
        cache.still.pop((run.name, "beat"), None)  # what is found after this may be of a start before
    beat = cache.standing(run.name, "beat", (run.attempt, report.generation, report.beat), now)
    partial = cache.standing(run.name, "partial", (run.attempt, seen.partial), now)
    stuck = cache.standing(run.name, "stuck", (run.attempt, bool(seen.stuck)), now)
    return StallTimers(
        beat_still=now - beat.since if report.beat else 0.0,
        beat_moved=beat.moved,
        partial=now - partial.since if seen.partial else 0.0,
        stuck=now - stuck.since if seen.stuck else 0.0,
    )


def _mirror_if_possible(context: TickContext, run: Run, news: Metrics | None) -> None:
    """A disk of this machine that is full, or closed to it, keeps no run from being looked after."""
    cache = context.cache
    try:
        _mirror(context, run, news)
        cache.unmirrored.pop(run.name, None)
    except OSError as error:
        words = f"its metrics cannot be kept here: {error}"
        if cache.unmirrored.get(run.name) != words:
            print(f"{run.name}: {words}", file=sys.stderr, flush=True)
        cache.unmirrored[run.name] = words


def _mirror(context: TickContext, run: Run, news: Metrics | None) -> None:
    cache, path = context.cache, context.store.home / "runs" / run.name / mirror.FILE
    if run.metrics != str(path):  # the store was moved
        context.store.update({run.name: {"metrics": str(path)}}, lease=context.lease)
    if news is not None:
        last = cache.last_steps.get(run.name, 0)
        cache.last_steps[run.name] = mirror.write(path, news, last)
        cache.marks[run.name] = news.mark


def _record_seen(context: TickContext, run: Run, seen: Observation) -> Run:
    report = seen.report or Report()
    if report.result is not None:
        context.cache.ends[run.name] = report.because
    elif report.generation > run.generation:
        context.cache.ends.pop(run.name, None)
    events = [
        *_generations(run, seen),
        *_checkpoint(context, run, seen),
        *_phase(context.cache, run, seen),
    ]
    if events:
        run = context.store.record_all(run.name, events, lease=context.lease, attempt=run.attempt)
    return run


def _current(run: Run, report: Report | None) -> dict[str, Any]:
    """What moves with every step: kept in the snapshot alone, told by no event but the last."""
    values = {name: getattr(report, name, None) for name in ("step", "steps", "loss", "tokens_per_second")}
    return {name: value for name, value in values.items() if value is not None and getattr(run, name) != value}


def _generations(run: Run, seen: Observation) -> list[tuple[str, dict[str, Any]]]:
    """For each generation that is news: how the one before it in the same attempt ended, and what it started from.

    How the last generation of an attempt ended is told by the event that ends the attempt.
    """
    events: list[tuple[str, dict[str, Any]]] = []
    before: Generation | None = None
    for one in seen.generations:
        if one.generation > run.generation:
            if before is not None and before.attempt == one.attempt:
                events.append(("generation_ended", _end_of(before)))
            events.append(("generation", _told_of(one)))
        before = one
    return events


def _end_of(one: Generation) -> dict[str, Any]:
    """`result` is None where it left no outcome. No key is a run's field that would change: the run goes on."""
    return {
        "generation": one.generation,
        "of_attempt": one.attempt,
        "result": one.result,
        "ended_by": one.cause.value if one.result is not None else None,
        "ended_because": one.because,
        "host": one.host,
    }


def _told_of(one: Generation) -> dict[str, Any]:
    return {
        "generation": one.generation,
        "of_attempt": one.attempt,
        "began": one.began,
        "resumed_step": one.resumed_step,
        "resumed_path": one.resumed_path,
        "rejected": [dict(checkpoint) for checkpoint in one.rejected],
    }


def _checkpoint(context: TickContext, run: Run, seen: Observation) -> list[tuple[str, dict[str, Any]]]:
    """An event for another newest checkpoint; a newer proven one ends a row of failures."""
    report = seen.report or Report()
    if report.checkpoint is None or report.checkpoint == run.checkpoint:
        return []
    data: dict[str, Any] = {"checkpoint": checkpoint_to_dict(report.checkpoint)}
    if report.checkpoint.proven and (run.checkpoint is None or report.checkpoint.step > run.checkpoint.step):
        data["failures"] = 0
        data.update(_well(context, run, seen, report.checkpoint.path))
    return [("checkpoint", data)]


def _well(context: TickContext, run: Run, seen: Observation, path: str | None = None) -> dict[str, Any]:
    """The machines of the generation that made the checkpoint at `path`, or of the newest one, for an event.

    Told only where there is evidence against a node of the cluster, which this may clear.
    """
    if seen.report is None or not context.store.node_records(run.cluster):
        return {}
    made = generation_of(path) if path else seen.report.generation
    hosts = next((one.hosts for one in seen.generations if one.generation == made), ())
    return {"well": {"generation": made, "hosts": list(hosts)}} if hosts else {}


def _phase(cache: TickCache, run: Run, seen: Observation) -> list[tuple[str, dict[str, Any]]]:
    """An event for another phase of a live attempt, or another reason why it is where it is: waits, is suspended."""
    kind = _TOLD.get(seen.phase)
    if kind is None or (seen.phase is run.phase and not _has_another_reason(cache, run, seen)):
        return []
    if run.phase is Phase.STOPPING and seen.phase in LIVE:
        return []  # what was asked to stop is stopping until it is gone
    if run.phase is Phase.RUNNING and seen.phase is Phase.STARTING and run.name in cache.ends:
        return []  # its start has ended: what follows is another start, or a place in the queue
    data: dict[str, Any] = {"because": seen.because, "raw": seen.raw}
    cache.reasons[run.name] = seen.because
    if seen.phase is not Phase.UNKNOWN:
        data["cause"] = Cause.NONE.value
    if seen.phase is Phase.QUEUED and run.phase in {Phase.STARTING, Phase.RUNNING}:
        data.update(again=True, because=seen.because or cache.ends.get(run.name, ""))
    return [(kind, data)]


def _has_another_reason(cache: TickCache, run: Run, seen: Observation) -> bool:
    """Also when there is none any more, where the last one was the scheduler's."""
    if seen.phase is Phase.UNKNOWN or seen.because == run.because:
        return False
    return bool(seen.because) or run.because == cache.reasons.get(run.name)


def _apply(context: TickContext, run: Run, seen: Observation, decision: Decision) -> None:
    if decision.action is Action.SUBMIT:
        _hand_over(context, run)
    elif decision.action is Action.CANCEL:
        _cancel(context, run, decision)
    elif decision.action is Action.RESUBMIT:
        _resubmit(context, run, seen, decision)
    elif decision.action is Action.FINISH:
        kind = "succeeded" if decision.cause is Cause.COMPLETED else "cancelled"
        well = _well(context, run, seen) if decision.cause is Cause.COMPLETED else {}
        _record(context, run, kind, {**_why(decision), **_current(run, seen.report), **well})
    elif decision.action in _ENDS:
        data = {**_why(decision), **_current(run, seen.report), **_where(run, seen, decision)}
        _record(context, run, _ENDS[decision.action], data)


def _why(decision: Decision) -> dict[str, Any]:
    return {"cause": decision.cause.value, "because": decision.because, "rule": decision.rule}


def _where(run: Run, seen: Observation, decision: Decision) -> dict[str, Any]:
    """The first error of an attempt that ended, and the machine that the attempt's own records name for the cause."""
    report = seen.report or Report()
    named = report.attempt == run.attempt and report.cause is decision.cause
    error = dict(report.first_error) if report.first_error is not None else None
    return {"first_error": error, "host": report.host if named else None}


def _record(context: TickContext, run: Run, kind: str, data: Mapping[str, Any]) -> Run:
    return context.store.record(run.name, kind, data, lease=context.lease, attempt=run.attempt)


def _hand_over(context: TickContext, run: Run) -> None:
    if run.cluster in context.cache.silent:
        return
    context.store.renew_lease(context.lease)
    after = dispatch(context.store, context.backend(run.cluster), run, context.environment, lease=context.lease)
    if after.phase is Phase.PENDING:
        context.cache.silent.add(run.cluster)


def _cancel(context: TickContext, run: Run, decision: Decision) -> None:
    if run.submission is None:
        return
    if run.phase is not Phase.STOPPING or run.because != decision.because:
        _record(context, run, "stopping", _why(decision))
    cache, wanted = context.cache, (run.attempt, decision.force)
    asked, at = cache.asked.get(run.name, (None, 0.0))
    if run.cluster in cache.silent or (asked == wanted and time.monotonic() - at < ASK_AGAIN_SECONDS):
        return
    context.store.renew_lease(context.lease)
    try:
        context.backend(run.cluster).cancel(run.submission, now=decision.force)
        cache.asked[run.name] = wanted, time.monotonic()
    except ClusterError as error:  # asked again by the next tick
        if isinstance(error, Unreachable):
            cache.silent.add(run.cluster)
        print(f"{run.name}: {error}", file=sys.stderr, flush=True)


def _resubmit(context: TickContext, run: Run, seen: Observation, decision: Decision) -> None:
    failpoints.failpoint("controller.lost")
    failures = run.failures + (0 if seen.phase is Phase.STOPPED and decision.rule == "stopped" else 1)
    lost = {**_why(decision), "failures": failures, **_where(run, seen, decision), "raw": seen.raw}
    told = Event(run=run.name, kind="lost", at=time.time(), data=lost)
    node_records = nodes.with_news(context.store.node_records(run.cluster), nodes.blame(run, told))
    without = excluded(node_records, context.backend(run.cluster), submission_of(run).nodes, context.bad_nodes())
    following = next_submission(run, without=without, **_not_yet_obeyed(run, seen))
    again = {**intention(following, without), "not_before": decision.not_before}
    events = [("lost", lost), ("resubmitting", again)]
    run = context.store.record_all(run.name, events, lease=context.lease, attempt=run.attempt)
    failpoints.failpoint("controller.intended")
    due = decision.not_before is None or decision.not_before <= time.time()
    if due and not run.cancel_requested:  # asked for since this tick began
        _hand_over(context, run)


def _not_yet_obeyed(run: Run, seen: Observation) -> dict[str, Any]:
    """Where its user told an attempt to start from that never started."""
    told = submission_of(run)
    if told.from_step is None and not told.from_scratch:
        return {}
    attempts = {seen.report.attempt if seen.report else 0, *(one.attempt for one in seen.generations)}
    if told.attempt in attempts:
        return {}
    return {"from_step": told.from_step, "from_scratch": told.from_scratch}
