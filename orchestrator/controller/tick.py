"""tick(): observe, reconcile, record, act. Level-triggered: what a kill at any line loses, the next tick sees again.

What a process remembers between ticks (TickCache) only says how long something has stood still and what need not be
read again; forgetting it delays a decision and changes none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.clusters import Backend, observation
from orchestrator.errors import ClusterError, OrchError, StoreError, Unreachable
from orchestrator.job.system import failpoints
from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import EventData, Mark, Metrics, Observation, Phase, Question, Report, Run
from orchestrator.policy.attempts import submission_of
from orchestrator.policy.reconcile import (
    PHASE_EVENTS,
    Command,
    Evidence,
    NewEvent,
    current,
    needs_nodes,
    reconcile,
)
from orchestrator.policy.rules import LIMITS, Limits, StallTimers, is_due
from orchestrator.runs.dispatch import dispatch
from orchestrator.store import Lease, Store, mirror
from orchestrator.system import logs

logger = logging.getLogger(__name__)

RENEW_SECONDS = 2.0
ASK_AGAIN_SECONDS = 10.0  # before a cluster is asked once more to end the same attempt


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
class RunCache:
    """What one controller process remembers of a run between ticks.

    `asked` is what its attempt was asked last, and when; `reason` what its cluster said last of why it is where it is,
    `ended` why the newest start of its attempt ended, `unmirrored` what kept its metrics from being written here.
    """

    still: dict[str, Unchanged] = field(default_factory=dict)
    mark: Mark | None = None
    last_step: int = 0
    asked: tuple[object, float] = (None, 0.0)
    reason: str | None = None
    ended: str | None = None
    unmirrored: str = ""

    def evidence(self, run: Run, seen: Observation, monotonic: float) -> Evidence:
        """What an observation at this moment is judged by, without what there is to say of nodes."""
        report = seen.report or Report()
        if report.result is not None:
            self.ended = report.because
        elif report.generation > run.generation:
            self.ended = None
        return Evidence(timers=self._timers(run, seen, report, monotonic), reason=self.reason, ended=self.ended)

    def recorded(self, seen: Observation, kinds: Iterable[str]) -> None:
        """Events of these kinds, which were made of an observation, are on record."""
        if any(kind in PHASE_EVENTS.values() for kind in kinds):
            self.reason = seen.because

    def _timers(self, run: Run, seen: Observation, report: Report, monotonic: float) -> StallTimers:
        if seen.phase in {Phase.QUEUED, Phase.UNKNOWN}:
            self.still.pop("beat", None)  # what is found after this may be of a start before
        beat = self._unchanged("beat", (run.attempt, report.generation, report.beat), monotonic)
        partial = self._unchanged("partial", (run.attempt, seen.partial), monotonic)
        stuck = self._unchanged("stuck", (run.attempt, bool(seen.stuck)), monotonic)
        return StallTimers(
            beat_still=monotonic - beat.since if report.beat else 0.0,
            beat_moved=beat.moved,
            partial=monotonic - partial.since if seen.partial else 0.0,
            stuck=monotonic - stuck.since if seen.stuck else 0.0,
        )

    def _unchanged(self, what: str, value: object, monotonic: float) -> Unchanged:
        """Since when `what` has had this value."""
        known = self.still.get(what)
        if known is None or known.value != value:
            self.still[what] = known = Unchanged(value=value, since=monotonic, moved=known is not None)
        return known


@dataclass(slots=True)
class TickCache:
    """What one controller process remembers between ticks.

    `silent` are clusters that left a request of this very tick unanswered: each may wait until a time-out, so the rest
    is for the next tick. `bugs` is what of orch's own went wrong, by run or cluster.
    """

    runs: dict[str, RunCache] = field(default_factory=dict)
    looks: dict[str, LastLook] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    bugs: dict[str, str] = field(default_factory=dict)

    def begin(self, unfinished: Sequence[Run]) -> None:
        """Another tick begins. What is remembered of runs and clusters without an unfinished run is forgotten."""
        self.silent.clear()
        clusters = {run.cluster for run in unfinished}
        self.runs = {run.name: self.runs.get(run.name, RunCache()) for run in unfinished}
        self.looks = {name: look for name, look in self.looks.items() if name in clusters}
        self.bugs = {name: bug for name, bug in self.bugs.items() if name in self.runs or name in clusters}


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
    context.cache.begin(unfinished)
    runs = [run for theirs in _by_cluster(unfinished) if _is_turn(context, theirs) for run in theirs]
    seen = observe(context, runs)
    context.store.renew_lease(context.lease)
    renewed = time.monotonic()
    values: dict[str, EventData] = {}
    for run in runs:
        if time.monotonic() - renewed > RENEW_SECONDS:
            context.store.renew_lease(context.lease)
            renewed = time.monotonic()
        with logs.about(run=run.name, cluster=run.cluster):
            try:
                values[run.name] = current(run, seen[run.name])
                _look_after(context, run, seen[run.name])
            except StoreError:
                raise
            except (OrchError, OSError) as error:
                logger.warning("%s", error)
            except Exception as error:  # noqa: BLE001 - a bug that one run meets must not end the care for all others
                _log_bug(context.cache, run.name, observation.of_bug(error).bug)
    context.store.update({name: changes for name, changes in values.items() if changes}, lease=context.lease)
    return len(unfinished)


def _log_bug(cache: TickCache, name: str, trace: str) -> None:
    """Log a bug with its traceback, once until it is another one. `name`: of a run or a cluster."""
    error = trace.rstrip().splitlines()[-1]
    if cache.bugs.get(name) != error:
        cache.bugs[name] = error
        logger.error("a bug in orch: %s", error, extra={"traceback": trace.rstrip()})


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
            with logs.about(cluster=cluster):
                seen.update(context.backend(cluster).observe(questions))
        except (OrchError, OSError) as error:
            unknown = Observation(phase=Phase.UNKNOWN, because=str(error))
            seen.update({run.name: unknown for run in theirs})
        except Exception as error:  # noqa: BLE001 - nor may one that a cluster meets
            unknown = observation.of_bug(error)
            with logs.about(cluster=cluster):
                _log_bug(context.cache, cluster, unknown.bug)
            seen.update({run.name: replace(unknown, bug="") for run in theirs})
        recorded = {run.name: _recorded(run) for run in theirs}
        context.cache.looks[cluster] = LastLook(at=time.monotonic(), recorded=recorded)
    nothing = Observation(phase=Phase.UNKNOWN, because="there is no word of it")
    return {run.name: seen.get(run.name, nothing) for run in runs}


def _question(cache: TickCache, run: Run) -> Question:
    """Asks for the newest recorded generation again: it may have ended since, and its machines may have done well."""
    mark = cache.runs[run.name].mark
    return Question(submission=submission_of(run), after=run.generation - 1, metrics=True, mark=mark)


def _look_after(context: TickContext, run: Run, seen: Observation) -> None:
    if seen.bug:
        _log_bug(context.cache, run.name, seen.bug)
    if seen.phase is not Phase.UNKNOWN:
        _mirror_if_possible(context, run, seen.metrics)
        failpoints.failpoint("controller.mirrored")
    events, command = reconcile(run, seen, _evidence(context, run, seen), time.time(), context.limits)
    after = _record(context, run, seen, events)
    expected = run.attempt + any(kind == "resubmitting" for kind, _ in events)
    if command is not None and after.attempt == expected:  # nobody resumed it meanwhile
        _carry_out(context, after, command)


def _evidence(context: TickContext, run: Run, seen: Observation) -> Evidence:
    evidence = context.cache.runs[run.name].evidence(run, seen, time.monotonic())
    if not needs_nodes(run, seen):
        return evidence
    evidence = replace(evidence, node_records=context.store.node_records(run.cluster))
    if not seen.phase.ended or not (evidence.node_records or (seen.report and seen.report.host)):
        return evidence  # no node can be excluded from another attempt
    return replace(evidence, bad_nodes=context.bad_nodes(), hosts=_hosts(context, run))


def _hosts(context: TickContext, run: Run) -> Sequence[str] | None:
    """The nodes of a run's cluster; None where it does not list them."""
    if run.cluster in context.cache.silent:
        return None
    try:
        return context.backend(run.cluster).hosts()
    except ClusterError as error:
        if isinstance(error, Unreachable):
            context.cache.silent.add(run.cluster)
        logger.warning("%s", error)
        return None


def _mirror_if_possible(context: TickContext, run: Run, news: Metrics | None) -> None:
    """A disk of this machine that is full, or closed to it, keeps no run from being looked after."""
    cache, words = context.cache.runs[run.name], ""
    try:
        _mirror(context, run, news)
    except OSError as error:
        words = f"its metrics cannot be kept here: {error}"
        if cache.unmirrored != words:
            logger.warning("%s", words)
    cache.unmirrored = words


def _mirror(context: TickContext, run: Run, news: Metrics | None) -> None:
    cache, path = context.cache.runs[run.name], context.store.home / "runs" / run.name / mirror.FILE
    if run.metrics != str(path):  # the store was moved
        context.store.update({run.name: {"metrics": str(path)}}, lease=context.lease)
    if news is not None:
        cache.last_step = mirror.write(path, news, cache.last_step)
        cache.mark = news.mark


def _record(context: TickContext, run: Run, seen: Observation, events: Sequence[NewEvent]) -> Run:
    kinds = {kind for kind, _ in events}
    if "lost" in kinds:
        failpoints.failpoint("controller.lost")
    if events:
        run = context.store.record_all(run.name, events, lease=context.lease, attempt=run.attempt)
    context.cache.runs[run.name].recorded(seen, kinds)
    if "resubmitting" in kinds:
        failpoints.failpoint("controller.intended")
    return run


def _carry_out(context: TickContext, run: Run, command: Command) -> None:
    cache, wanted = context.cache, (run.attempt, command)
    if run.cluster in cache.silent:
        return
    if command is Command.SUBMIT:
        if not run.cancel_requested:  # asked for since this tick began
            _submit(context, run)
        return
    asked, at = cache.runs[run.name].asked
    if asked == wanted and time.monotonic() - at < ASK_AGAIN_SECONDS:
        return
    context.store.renew_lease(context.lease)
    try:
        context.backend(run.cluster).cancel(submission_of(run), now=command is Command.KILL)
        cache.runs[run.name].asked = wanted, time.monotonic()
    except ClusterError as error:  # asked again by the next tick
        if isinstance(error, Unreachable):
            cache.silent.add(run.cluster)
        logger.warning("%s", error)


def _submit(context: TickContext, run: Run) -> None:
    context.store.renew_lease(context.lease)
    after = dispatch(context.store, context.backend(run.cluster), run, context.environment, lease=context.lease)
    if after.phase is Phase.PENDING:
        context.cache.silent.add(run.cluster)
