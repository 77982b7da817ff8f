"""Submission, Observation, Decision and Run: what was handed over, what was seen, what follows, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import FLAT, OMIT
from orchestrator.job.protocol.report import (
    CheckpointRef,
    FirstError,
    Generation,
    Mark,
    Metrics,
    MetricsLine,
    Progress,
    Rejected,
    Report,
)

__all__ = [
    "Action", "Cause", "CheckpointRef", "Decision", "Event", "FirstError", "Generation", "Mark", "Metrics",
    "MetricsLine", "Observation", "Phase", "Progress", "Question", "Rejected", "Report", "Run", "Submission",
]  # fmt: skip


class Phase(StrEnum):
    """Where a run, or one attempt of it, is. UNKNOWN never ends anything."""

    PENDING = "pending"  # recorded, not yet handed over
    QUEUED = "queued"  # the scheduler has it
    STARTING = "starting"  # processes exist, no step yet
    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop, saving
    STOPPED = "stopped"  # ended early; can be resumed
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset({Phase.STOPPED, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


class Action(StrEnum):
    WAIT = "wait"
    SUBMIT = "submit"  # hand over the attempt whose intention is recorded
    RESUBMIT = "resubmit"  # a new attempt
    CANCEL = "cancel"  # end what still runs, before anything else
    STOP = "stop"  # needs the user
    FINISH = "finish"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from an observation; `because` is a sentence for people, `rule` the name of the row that matched."""

    action: Action
    because: str
    rule: str
    cause: Cause = Cause.NONE
    not_before: float | None = None  # seconds of the wall clock: backoff
    force: bool = False  # of CANCEL: end it at once, without a chance to save


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One attempt handed to a backend under a deterministic name. `handle` is None until the backend answered."""

    run: str
    run_id: str
    attempt: int
    cluster: str
    digest: str
    dir: str  # the run's directory on the cluster
    checkpoint_dir: str  # absolute, on the cluster
    bundle_file: str  # on this machine, an archive
    nodes: int = 1
    handle: str | None = None
    from_step: int | None = None
    from_scratch: bool = False
    exclude: tuple[str, ...] = ()  # nodes that it shall not use

    @property
    def name(self) -> str:
        return f"orch-{self.run}-{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a backend is asked about an attempt: its state; and of its run, where wanted, generations and metrics."""

    submission: Submission
    after: int | None = None  # generations above this number are wanted; None: none are
    metrics: bool = False  # lines of metrics are wanted: those after `mark`, None: all that count
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A backend's view of one attempt. `raw` is the scheduler's own state."""

    phase: Phase
    cause: Cause = Cause.NONE
    raw: str = ""
    because: str = ""
    report: Report | None = None
    partial: str = ""  # parts of a live attempt that are gone, as the backend describes them; "" when it is whole
    stuck: str = ""  # why a live attempt can't start as things are; "" when nothing keeps it but its turn
    patience: float = 0.0  # seconds for which an attempt that is stuck is waited for
    bug: str = ""  # the traceback, where orch itself failed to read what there is; `phase` is UNKNOWN then
    generations: tuple[Generation, ...] = ()  # those that were asked for, oldest first
    metrics: Metrics | None = None  # None: no new lines, or none were asked for


EventData: TypeAlias = Mapping[str, Any]  # of an event, by the keys of its kind, as stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact about a run, as recorded. `at` is seconds since the epoch; `run` is "" for one about the controller."""

    run: str
    kind: str
    at: float
    data: EventData = field(default_factory=dict)
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The state of a run: a fold over its events, and the progress of its job, which makes no events."""

    name: str
    run_id: str
    cluster: str
    spec_digest: str
    dir: str
    checkpoint_dir: str
    metrics: str
    submitted_at: float
    phase: Phase = Phase.PENDING
    cause: Cause = Cause.NONE
    because: str = ""
    attempt: int = 1
    generation: int = 0
    progress: Progress = field(default=Progress(), metadata=FLAT)
    checkpoint: CheckpointRef | None = None
    ended_at: float | None = None
    cancel_requested: bool = False
    cancel_at: float | None = None  # when it was asked for
    cancel_now: bool = False  # without a chance to save
    submission: Submission | None = None
    first_error: FirstError | None = None
    intended_at: float | None = None  # when the intention of this attempt was recorded
    not_before: float | None = None
    notes: tuple[str, ...] = field(default=(), metadata=OMIT)  # what rank 0 of a generation has said of the script
    noted_generation: int = field(default=0, metadata=OMIT)  # which one
    removing: bool = field(default=False, metadata=OMIT)  # somebody has begun to remove it
    failures: int = 0  # attempts in a row that ended badly, without a new proven checkpoint
    max_failures: int = 5
    grace: float = 900.0  # seconds that an attempt may take to save when asked to stop
    from_step: int | None = None
    from_scratch: bool = False
