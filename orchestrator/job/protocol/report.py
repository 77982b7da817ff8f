"""What a run's own records say of it: its state, its generations, its metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional

from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import FLAT, OMIT


@dataclass(frozen=True)
class FirstError:
    """The earliest error of all ranks that is no consequence of another. `host`: the machine it happened on."""

    node: Optional[int] = None
    time: Optional[float] = None
    type: str = ""
    message: str = ""
    rank: Optional[int] = None
    cause: Optional[Cause] = None  # where the agents saw it themselves
    traceback: str = ""
    host: Optional[str] = None


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint of the run, by the step it was saved at. `proven`: it is committed, or a claim has verified it."""

    step: int
    path: str
    proven: bool


@dataclass(frozen=True)
class Rejected:
    """A checkpoint that a claim did not seal, and why not."""

    path: str
    why: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with a checkpoint; `file` is relative to it, "." for the checkpoint itself."""

    file: str
    what: str


@dataclass(frozen=True)
class Listed:
    """One checkpoint, a directory or a file. `path` is relative to the root.

    `proven` is None where nobody has checked, `step` where neither its name nor its files say one.
    """

    step: Optional[int]
    path: str
    generation: int
    basis: str
    proven: Optional[bool]
    problems: tuple[Problem, ...]
    bytes: int
    counts: bool
    kind: str = field(default="", metadata=OMIT)  # whose layout it has


@dataclass(frozen=True)
class Progress:
    """What moves with every step: of each key, the value in the newest line of metrics."""

    step: Optional[int] = None
    steps: Optional[int] = None
    loss: Optional[float] = None
    tokens_per_second: Optional[float] = None


@dataclass(frozen=True)
class Report:
    """The newest generation that counts, and how the ones before it ended."""

    generation: int = 0
    attempt: int = 0
    resumed_from: Optional[int] = None
    progress: Progress = field(default=Progress(), metadata=FLAT)
    state: Optional[str] = None  # loading, training, saving, ...
    checkpoint: Optional[CheckpointRef] = None
    success: bool = False
    result: Optional[str] = None  # of the newest generation: success, stopped, failed, fenced; None while it is open
    cause: Cause = Cause.NONE
    because: str = ""
    retry: bool = True  # False: another attempt would end the same way
    first_error: Optional[FirstError] = None
    host: Optional[str] = None  # the machine of the first error
    failures: int = 0  # in a row, without a new proven checkpoint
    notes: tuple[str, ...] = field(default=(), metadata=OMIT)  # what rank 0 says of the script
    start: Optional[str] = None  # of the newest generation: names one start of the agents
    beat: int = field(default=0, metadata=OMIT)  # sum of the agents' heartbeat counters: moves while any agent lives


@dataclass(frozen=True)
class Generation:
    """One start of the job's processes, as its claim says, and how it ended; `result` is None while it is open."""

    generation: int
    attempt: int
    began: float = 0.0  # seconds since the epoch, on the clock of node 0
    resumed_step: Optional[int] = None  # None: from step 0
    resumed_path: Optional[str] = None
    rejected: tuple[Rejected, ...] = ()  # checkpoints that did not count any more
    result: Optional[str] = None
    cause: Optional[Cause] = None  # None while it is open
    because: str = ""
    host: Optional[str] = None  # the machine of the first error
    hosts: tuple[str, ...] = ()  # those that took part, by node


@dataclass(frozen=True)
class MetricsLine:
    """A line of metrics as it was written: a script may have keys of its own."""

    values: Mapping[str, object] = field(metadata=FLAT)
    step: int


@dataclass(frozen=True)
class Mark:
    """How far a reader of metrics has come: so many bytes of the file of a generation."""

    generation: int
    offset: int


@dataclass(frozen=True)
class Metrics:
    """Lines of metrics after a mark. `whole`: they are all that count, and replace what was read before."""

    mark: Mark
    lines: tuple[MetricsLine, ...]
    whole: bool
