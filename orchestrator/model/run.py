"""Submission, Observation, Decision and Run: what was handed over, what was seen, what follows, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


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


class Cause(StrEnum):
    """Why a phase was entered. The words are those of the signature table and of `orch status`."""

    NONE = "none"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    ASKED_TO_STOP = "asked_to_stop"
    PREEMPTED = "preempted"
    TIME_LIMIT = "time_limit"
    NODE_LOST = "node_lost"
    AGENT_LOST = "agent_lost"
    LAUNCHER_LOST = "launcher_lost"
    RANK_KILLED = "rank_killed"
    HUNG = "hung"
    FENCED = "fenced"
    USER_ERROR = "user_error"
    CUDA_OOM = "cuda_oom"
    HOST_OOM = "host_oom"
    SHARED_MEMORY = "shared_memory"
    GPU_FAULT = "gpu_fault"
    NETWORK = "network"
    PORT = "port"
    RENDEZVOUS = "rendezvous"
    DISK_FULL = "disk_full"
    CHECKPOINT_DAMAGED = "checkpoint_damaged"
    NO_PROVEN_CHECKPOINT = "no_proven_checkpoint"
    WORLD_SIZE = "world_size"
    SHAPE = "shape"
    LOSS_SCALE = "loss_scale"
    CONFIGURATION = "configuration"
    OPERATOR_BUILD = "operator_build"
    PREFLIGHT = "preflight"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a cause's name, not a password
    OWNED = "owned"  # the checkpoint directory belongs to another run
    REFUSED = "refused"  # the cluster refused the submission
    STUCK = "stuck"  # the cluster took it, and could never start it
    UNKNOWN = "unknown"


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
class CheckpointRef:
    """A checkpoint of the run, by the step it was saved at."""

    step: int
    path: str
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the job's own records say: the newest generation that counts, and how the ones before it ended."""

    generation: int = 0
    attempt: int = 0
    resumed_from: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    state: str | None = None  # loading, training, saving, ...
    checkpoint: CheckpointRef | None = None
    success: bool = False
    result: str | None = None  # of the newest generation: success, stopped, failed, fenced; None while it is open
    cause: Cause = Cause.NONE
    because: str = ""
    retry: bool = True  # False: another attempt would end the same way
    first_error: Mapping[str, Any] | None = None
    host: str | None = None  # the machine of the first error
    failures: int = 0  # in a row, without a new proven checkpoint
    start: str | None = None  # of the newest generation: names one start of the agents
    beat: int = 0  # sum of the agents' heartbeat counters: moves while any agent lives


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One start of the job's processes, as its claim says, and how it ended; `result` is None while it is open."""

    generation: int
    attempt: int
    began: float  # seconds since the epoch, on the clock of node 0
    resumed_step: int | None = None  # None: from step 0
    resumed_path: str | None = None
    rejected: tuple[Mapping[str, str], ...] = ()  # checkpoints that did not count any more: path, why
    result: str | None = None
    cause: Cause = Cause.NONE
    because: str = ""
    host: str | None = None  # the machine of the first error
    hosts: tuple[str, ...] = ()  # those that took part, by node


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a reader of metrics has come: so many bytes of the file of a generation."""

    generation: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Lines of metrics after a mark. `whole`: they are all that count, and replace what was read before."""

    mark: Mark
    lines: tuple[Mapping[str, Any], ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a backend is asked about an attempt: its state; and of its run, where wanted, generations and metrics."""

    submission: Submission
    after: int | None = None  # generations above this number are wanted; None: none are
    metrics: bool = False  # lines of metrics are wanted: those after `mark`, None: all that count
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a backend said of one attempt. `raw` keeps the scheduler's own word."""

    phase: Phase
    cause: Cause = Cause.NONE
    raw: str = ""
    because: str = ""
    report: Report | None = None
    partial: str = ""  # parts of a live attempt that are gone, in the backend's words; "" when it is whole
    stuck: str = ""  # why a live attempt can't start as things are; "" when nothing keeps it but its turn
    patience: float = 0.0  # seconds for which an attempt that is stuck is waited for
    bug: str = ""  # the traceback, where orch itself failed to read what there is; `phase` is UNKNOWN then
    generations: tuple[Generation, ...] = ()  # those that were asked for, oldest first
    metrics: Metrics | None = None  # None: no new lines, or none were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact about a run, as recorded. `at` is seconds since the epoch; `run` is "" for one about the controller."""

    run: str
    kind: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


# A field of Run that moves with every step: taken from the field of Report with the same name, and not told by events.
_IS_CURRENT = {"current": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The state of a run: a fold over its events, and the current values of its job."""

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
    step: int | None = field(default=None, metadata=_IS_CURRENT)
    steps: int | None = field(default=None, metadata=_IS_CURRENT)
    loss: float | None = field(default=None, metadata=_IS_CURRENT)
    tokens_per_second: float | None = field(default=None, metadata=_IS_CURRENT)
    checkpoint: CheckpointRef | None = None
    ended_at: float | None = None
    cancel_requested: bool = False
    cancel_at: float | None = None  # when it was asked for
    cancel_now: bool = False  # without a chance to save
    submission: Submission | None = None
    first_error: Mapping[str, Any] | None = None
    intended_at: float | None = None  # when the intention of this attempt was recorded
    not_before: float | None = None
    failures: int = 0  # attempts in a row that ended badly, without a new proven checkpoint
    max_failures: int = 5
    grace: float = 900.0  # seconds that an attempt may take to save when asked to stop
    from_step: int | None = None
    from_scratch: bool = False


CURRENT = tuple(one.name for one in fields(Run) if one.metadata.get("current"))
