"""reconcile() over whole histories: what observations, silence, faults and a forgetful controller come to, folded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.controller.tick import RunCache
from orchestrator.job.protocol.encoding import to_json
from orchestrator.model.fold import begin, fold
from orchestrator.model.run import (
    Cause,
    CheckpointRef,
    Event,
    Generation,
    Observation,
    Phase,
    Progress,
    Report,
    Run,
    Submission,
)
from orchestrator.policy.nodes import NodeRecord
from orchestrator.policy.reconcile import Command, Evidence, NewEvent, needs_nodes, reconcile
from orchestrator.policy.rules import LIMITS

ENDS = {"succeeded", "cancelled", "stopped", "failed"}
SUBMISSION = Submission(
    run="a", run_id="i", attempt=1, cluster="hpc", digest="d", dir="/d", checkpoint_dir="/c", bundle_file="/b"
)


def path_of(generation: int, step: int) -> str:
    return f"generations/{generation:06d}/checkpoints/checkpoint-{step}"


@dataclass
class History:
    """A store in memory and the controller before it."""

    now: float = 1000.0
    forgetful: bool = False  # the controller is another process at each tick
    cache: RunCache = field(default_factory=RunCache)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = {
            "run_id": "i", "cluster": "hpc", "spec_digest": "d", "dir": "/d", "checkpoint_dir": "/c", "metrics": "/m",
            "max_failures": 3, "grace": 60.0, "submission": to_json(SUBMISSION), "attempt": 1,
        }  # fmt: skip
        self.run = begin(self._event("submitted", data))

    def _event(self, kind: str, data: dict) -> Event:
        self.events.append(Event(run="a", kind=kind, at=self.now, data=data))
        return self.events[-1]

    def record(self, kind: str, data: dict | None = None) -> None:
        self.run = fold(self.run, self._event(kind, data or {}))

    def tick(self, seen: Observation) -> tuple[tuple[NewEvent, ...], Command | None]:
        """Reconcile and record, with what holds whatever was seen."""
        if self.forgetful:
            self.cache = RunCache()
        before = self.run
        events, command = reconcile(self.run, seen, self.cache.evidence(self.run, seen, self.now), self.now)
        for kind, data in events:
            self.record(kind, dict(data))
        kinds = [kind for kind, _ in events]
        self.cache.recorded(seen, kinds)
        assert self.run.generation >= before.generation
        if before.phase.ended:
            assert (events, command, self.run) == ((), None, before)
        if seen.phase is Phase.UNKNOWN:
            assert command is None
            assert not ENDS.union({"lost", "resubmitting"}).intersection(kinds)
        if not seen.phase.ended:
            assert self.run.attempt == before.attempt
            assert self.run.phase.ended == before.phase.ended
        assert kinds.count("lost") == kinds.count("resubmitting") == self.run.attempt - before.attempt <= 1
        if self.run.attempt > before.attempt:
            assert self.run.failures - (0 if "checkpoint" in kinds else before.failures) <= 1
            assert not before.cancel_requested
        else:
            again = self.cache.evidence(self.run, seen, self.now)
            assert reconcile(self.run, seen, again, self.now)[0] == (), "the same once more is no news"
        return events, command


@dataclass
class World:
    """A cluster with one job that obeys: what there is to see of it is always true."""

    live: int = 0  # the attempt that has processes
    phase: Phase = Phase.PENDING
    cause: Cause = Cause.NONE
    generations: list[Generation] = field(default_factory=list)
    result: str | None = None
    retry: bool = True
    step: int = 0
    checkpoints: list[CheckpointRef] = field(default_factory=list)
    success: bool = False
    beat: int = 0
    hangs: bool = False
    resumed: int = 0
    bad_ends: int = 0  # in a row, without a new proven checkpoint
    was_asked: bool = False
    submitted: int = 0  # attempts that were ever handed over

    def proven(self) -> CheckpointRef | None:
        return max((one for one in self.checkpoints if one.proven), key=lambda one: one.step, default=None)

    def submit(self, attempt: int) -> None:
        assert not self.live, "never two live attempts"
        assert attempt == self.submitted + 1
        self.live = self.submitted = attempt
        self.phase, self.cause, self.was_asked = Phase.QUEUED, Cause.NONE, False

    def begin(self) -> None:
        """A start of the attempt's processes, the first or after a requeue, claims a generation."""
        if not self.live:
            return
        newest = self.proven()
        self.resumed = self.step = newest.step if newest else 0
        self.generations.append(
            Generation(
                generation=len(self.generations) + 1, attempt=self.live, began=1.0, resumed_step=self.resumed or None
            )
        )
        self.phase, self.result, self.hangs = Phase.RUNNING, None, False

    @property
    def trains(self) -> bool:
        return bool(self.live) and self.phase is Phase.RUNNING

    def train(self, *, proven: bool) -> None:
        if self.trains:
            self.step += 1
            path = path_of(len(self.generations), self.step)
            self.checkpoints.append(CheckpointRef(step=self.step, path=path, proven=proven))
            if proven:
                self.bad_ends = 0

    def end(self, phase: Phase, cause: Cause, result: str | None, *, retry: bool = True) -> None:
        if not self.live:
            return
        began = bool(self.generations) and self.generations[-1].attempt == self.live
        self.live, self.phase, self.cause, self.retry = 0, phase, cause, retry
        self.result = result if began else None
        if began and result is not None:
            self.generations[-1] = replace(self.generations[-1], result=result, cause=cause)
        if phase is Phase.FAILED:
            self.bad_ends += 1

    def stop(self, command: Command) -> None:
        self.was_asked = True
        if self.trains and command is Command.CANCEL:
            self.train(proven=True)
            self.end(Phase.STOPPED, Cause.ASKED_TO_STOP, "stopped")
        else:
            self.end(Phase.FAILED, Cause.AGENT_LOST, None)

    def see(self, run: Run) -> Observation:
        newest = self.generations[-1] if self.generations else None
        mine = newest is not None and newest.attempt == run.attempt
        report = Report(
            generation=newest.generation if newest else 0,
            attempt=newest.attempt if newest else 0,
            resumed_from=self.resumed,
            progress=Progress(step=self.step or None),
            checkpoint=self.proven(),
            success=self.success,
            result=self.result if mine else None,
            cause=self.cause if mine and self.result is not None else Cause.NONE,
            retry=self.retry,
            beat=self.beat if mine and self.live else 0,
        )
        phase = self.phase if self.submitted == run.attempt else Phase.PENDING
        news = tuple(one for one in self.generations if one.generation > run.generation - 1)
        return Observation(
            phase=phase, cause=self.cause if phase.ended else Cause.NONE, report=report, generations=news
        )


FAULTS = {
    "begin": World.begin,
    "requeue": World.begin,
    "train": lambda world: world.train(proven=True),
    "save damaged": lambda world: world.train(proven=False),
    "break": lambda world: world.end(Phase.FAILED, Cause.RANK_KILLED, "failed"),
    "die": lambda world: world.end(Phase.FAILED, Cause.NODE_LOST, None),
    "preempt": lambda world: world.end(Phase.STOPPED, Cause.PREEMPTED, "stopped"),
    "mistake": lambda world: world.end(Phase.FAILED, Cause.USER_ERROR, "failed", retry=False),
}
STEPS = st.lists(
    st.tuples(st.sampled_from(["nothing", "silence", *FAULTS]), st.sampled_from([0.5, 30.0, 400.0])), max_size=25
)


def play(history: History, world: World, what: str, seconds: float) -> None:
    """Something happens, the controller ticks, and the world obeys."""
    history.now += seconds
    if what in FAULTS:
        FAULTS[what](world)
    world.beat += not world.hangs
    silent = what == "silence"
    seen = Observation(phase=Phase.UNKNOWN, because="no answer") if silent else world.see(history.run)
    before = history.run
    _, command = history.tick(seen)
    if history.run.attempt > before.attempt:
        assert history.run.failures == world.bad_ends, "each bad end counts once"
        assert history.run.submission is not None
        assert history.run.submission.from_step is None, "the job itself chooses a proven checkpoint"
    if command is Command.SUBMIT:
        world.submit(history.run.attempt)
        assert history.run.submission is not None
        handed = to_json(replace(history.run.submission, handle=str(world.submitted)))
        history.record("handed_over", {"submission": handed, "not_before": None})
    elif command is not None:
        world.stop(command)


def finish(history: History, world: World) -> Run:
    """From now on all goes well."""
    for _ in range(12):
        if history.run.phase.ended:
            break
        if world.live and not world.trains:
            world.begin()
        elif world.trains and not world.was_asked:
            world.train(proven=True)
            world.success = True
            world.end(Phase.SUCCEEDED, Cause.COMPLETED, "success")
        play(history, world, "nothing", 400.0)
    return history.run


def outcome(steps: list[tuple[str, float]], *, forgetful: bool) -> tuple[object, ...]:
    history, world = History(forgetful=forgetful), World()
    for what, seconds in steps:
        play(history, world, what, seconds)
    run = finish(history, world)
    kinds = [event.kind for event in history.events]
    assert kinds.count("lost") == run.attempt - 1
    assert sum(kinds.count(kind) for kind in ENDS) == 1
    return run.phase, run.cause, run.attempt, run.generation, run.failures, run.checkpoint


@settings(deadline=None)
@given(STEPS)
def test_a_history_ends_once_and_never_with_two_live_attempts(steps: list[tuple[str, float]]) -> None:
    phase, *_ = outcome(steps, forgetful=False)
    assert phase in {Phase.SUCCEEDED, Phase.FAILED}


@settings(deadline=None)
@given(STEPS)
def test_a_controller_that_forgets_between_ticks_comes_to_the_same_end(steps: list[tuple[str, float]]) -> None:
    assert outcome(steps, forgetful=True) == outcome(steps, forgetful=False)


@settings(deadline=None)
@given(STEPS, st.booleans(), STEPS)
def test_a_cancel_leads_to_an_end_whatever_happens_then(
    before: list[tuple[str, float]],
    now: bool,  # noqa: FBT001 - hypothesis draws it
    after: list[tuple[str, float]],
) -> None:
    history, world = History(), World()
    for what, seconds in before:
        play(history, world, what, seconds)
    if history.run.phase.ended:
        return
    history.record("cancel_requested", {"cancel_now": now})
    attempt = history.run.attempt
    for what, seconds in after:
        play(history, world, what, seconds)
    never = history.run.submission is not None and history.run.submission.handle is None
    if never and not history.run.phase.ended:
        world.submitted, world.phase = attempt, Phase.CANCELLED  # the cluster has noted that it shall not begin
    for _ in range(3):
        play(history, world, "nothing", 400.0)
    assert history.run.phase is Phase.CANCELLED
    assert (history.run.attempt, world.live) == (attempt, 0)


@settings(deadline=None)
@given(st.integers(1, 5))
def test_forgetting_delays_what_a_heartbeat_that_stands_still_comes_to(forgotten: int) -> None:
    history, world = History(), World()
    for what in ("nothing", "begin", "train", "train"):
        play(history, world, what, 10.0)
    world.hangs = True
    for _ in range(forgotten):
        history.cache = RunCache()
        play(history, world, "nothing", LIMITS.hung)
        assert history.run.phase is Phase.RUNNING
    for _ in range(3):
        play(history, world, "nothing", LIMITS.silent)
    kinds = [event.kind for event in history.events]
    assert (history.run.attempt, kinds.count("stopping"), kinds.count("lost")) == (2, 1, 1)


POSSIBLE = st.builds(
    Observation,
    phase=st.sampled_from(Phase),
    cause=st.sampled_from(Cause),
    because=st.sampled_from(["", "one", "two"]),
    partial=st.sampled_from(["", "the agent of node 1 is gone"]),
    stuck=st.sampled_from(["", "ImagePullBackOff"]),
    report=st.none()
    | st.builds(
        Report,
        attempt=st.integers(0, 3),
        generation=st.integers(0, 5),
        success=st.booleans(),
        result=st.sampled_from([None, "success", "stopped", "failed", "fenced"]),
        cause=st.sampled_from(Cause),
        retry=st.booleans(),
        failures=st.integers(0, 4),
        beat=st.integers(0, 2),
        checkpoint=st.none()
        | st.builds(
            CheckpointRef,
            step=st.integers(1, 3),
            path=st.builds(path_of, st.integers(1, 3), st.integers(1, 3)),
            proven=st.booleans(),
        ),
    ),
    generations=st.lists(st.integers(1, 6), unique=True, max_size=3).map(
        lambda numbers: tuple(Generation(generation=n, attempt=n // 2, began=1.0) for n in sorted(numbers))
    ),
)


@settings(deadline=None)
@given(st.lists(st.tuples(POSSIBLE, st.booleans(), st.sampled_from([0.5, 30.0, 400.0])), max_size=12))
def test_no_sequence_of_observations_breaks_what_always_holds(
    steps: list[tuple[Observation, bool, float]],
) -> None:
    """Also of those that no cluster would give: the laws are asserted at each tick of a History."""
    history = History()
    for seen, forgets, seconds in steps:
        history.now += seconds
        if forgets:
            history.cache = RunCache()
        history.tick(seen)
    forgiven = [
        event.data["checkpoint"] for event in history.events if event.kind == "checkpoint" and "failures" in event.data
    ]
    assert all(checkpoint["proven"] for checkpoint in forgiven)


def test_nodes_are_asked_for_where_an_attempt_has_ended_or_a_checkpoint_is_new() -> None:
    run = History().run
    saved = CheckpointRef(step=1, path=path_of(1, 1), proven=True)
    assert not needs_nodes(run, Observation(phase=Phase.RUNNING))
    assert needs_nodes(run, Observation(phase=Phase.FAILED))
    assert needs_nodes(run, Observation(phase=Phase.RUNNING, report=Report(checkpoint=saved)))


def test_a_lost_node_is_excluded_only_once_the_cluster_lists_its_nodes() -> None:
    history = History()
    history.record("handed_over", {"submission": to_json(replace(SUBMISSION, handle="7"))})
    seen = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    held = NodeRecord(cluster="hpc", node="gn01", held=True)
    evidence = Evidence(node_records=(held,), hosts=None)
    assert reconcile(history.run, seen, evidence, history.now) == ((), None)
    events, command = reconcile(history.run, seen, replace(evidence, hosts=("gn01", "gn02")), history.now)
    assert command is Command.SUBMIT
    assert dict(events)["resubmitting"]["submission"]["exclude"] == ["gn01"]
