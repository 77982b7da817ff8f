"""The records of a checkpoint directory and of an attempt's directory, each a small JSON file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional

from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import OMIT, newest
from orchestrator.job.protocol.report import FirstError, Rejected

HOPELESS = 85  # exit status of an agent: another attempt would end the same way


@dataclass(frozen=True)
class Owner:
    """The run that a directory belongs to."""

    run: str = ""
    run_id: str = ""
    created: Optional[float] = field(default=None, metadata=OMIT)


@dataclass(frozen=True)
class Sealed:
    """A checkpoint of an older generation that counts. `path` is relative to the root, `digest` what was proven."""

    path: str
    step: int
    digest: str


@dataclass(frozen=True)
class Resume:
    """Where a generation goes on from; `path` is relative to the root."""

    path: str
    step: int


@dataclass(frozen=True)
class Claim:
    """The record that makes a generation. `sealed` is newest first; `time` is seconds since the epoch.

    `progress`: a checkpoint has counted before, or there were some from before orch, so that starting at step 0 would
    throw work away. `failures`: generations in a row that ended without a new proven checkpoint before this one;
    `stops`: likewise, those that were asked to stop, not failures. `asked`: the user's request that this claim
    obeyed, as in "from-step 20".
    """

    generation: int
    run: str
    run_id: str
    attempt: int
    start: str
    nodes: int
    address: str
    port: int
    time: float
    resume: Optional[Resume] = None
    sealed: tuple[Sealed, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    progress: bool = False
    failures: int = 0
    stops: int = 0
    asked: Optional[str] = None
    format: int = field(default=1, metadata=newest(1))


@dataclass(frozen=True)
class Note:
    """A sentence of rank 0 about a script of the user's own, for `orch events`."""

    text: str
    time: float = 0.0


@dataclass(frozen=True)
class ShownCheckpoint:
    """A checkpoint of an older generation as a script finds it: `path` relative to the root, made from `origin`.

    `state` is that of its files when they were laid out; another one now: the script has saved there itself.
    """

    path: str
    origin: str
    step: int
    state: str


@dataclass(frozen=True)
class Shown:
    """What a script finds in its directories when it starts, written when all of it is there.

    `checkpoints` is newest first; `resume`: the directory or file to go on from, relative to the root; `code`: files of
    the code snapshot, relative to the working directory.
    """

    checkpoints: tuple[ShownCheckpoint, ...] = ()
    resume: Optional[str] = None
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a generation ended. `restart`: the agents start again together, as the next one; else they exit with `code`.

    `result` is success, stopped, failed or fenced; `host` the machine of the first error.
    """

    result: str
    cause: Cause = Cause.UNKNOWN
    because: str = ""
    retry: bool = True
    restart: bool = False
    code: int = HOPELESS
    step: Optional[int] = None
    failures: int = 0
    first_error: Optional[FirstError] = None
    host: Optional[str] = None
    generation: int = 0
    attempt: int = 0
    time: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether no other start of the same attempt may follow."""
        return self.result == "failed" and not self.retry


@dataclass(frozen=True)
class Success:
    """The success marker: every rank attested the end of the training."""

    generation: int = 0
    attempt: int = 0
    step: Optional[int] = None
    time: float = 0.0


@dataclass(frozen=True)
class Process:
    """What identifies a process on its machine, since its boot."""

    pid: int = 0
    ticks: Optional[int] = None
    boot: Optional[str] = None
    space: Optional[str] = None


@dataclass(frozen=True)
class NodeJoined:
    """A node's place in a generation."""

    node: int
    host: str = "?"
    start: str = ""
    device: str = ""
    gpus: Optional[int] = None
    time: float = 0.0
    process: Process = Process()
    pid: Optional[int] = None


@dataclass(frozen=True)
class Heartbeat:
    """A counter that moves while an agent lives."""

    count: int


@dataclass(frozen=True)
class StopRequest:
    """A node was asked to stop."""

    signal: str
    time: float = 0.0


@dataclass(frozen=True)
class Stopped:
    """The checkpoint of an agreed stop is committed."""

    step: int
    time: float = 0.0


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong. `time` is in seconds since the epoch; `type` and `message` name it, `text` says more.

    `type` is an exception's name, or "Signal" or "Exit" for a rank that ended without a record, "Launcher" for a
    launcher that did. Where the agents saw the cause themselves, `cause` is set and `message` is the sentence.
    """

    node: int
    time: float
    type: str
    message: str
    text: str = ""
    rank: Optional[int] = None
    cause: Optional[Cause] = None


@dataclass(frozen=True)
class NodeExit:
    """How a node's launcher ended: done, stopped, failed or killed. `left`: processes that would not die."""

    node: int
    result: str
    code: Optional[int] = None
    faults: tuple[Fault, ...] = ()
    out_of_memory: bool = False
    left: tuple[int, ...] = ()
    time: float = 0.0


@dataclass(frozen=True)
class Ending:
    """How an agent ended: in the attempt's directory, and in the checkpoint directory where it had no generation.

    `generation` is None where it had none, in the checkpoint directory the newest that it knew of.
    """

    node: int = 0
    host: Optional[str] = None
    start: Optional[str] = None
    attempt: int = 0
    generation: Optional[int] = None
    code: int = HOPELESS
    result: str = "failed"
    cause: Cause = Cause.UNKNOWN
    because: str = ""
    retry: bool = True
    time: float = 0.0


@dataclass(frozen=True)
class RankProcess:
    """A rank has started."""

    rank: int
    node: int
    pid: int
    host: str = ""


@dataclass(frozen=True)
class RankSession:
    """A rank understands a request to stop."""

    rank: int
    pid: int


@dataclass(frozen=True)
class RankError:
    """The exception that ended a rank."""

    rank: Optional[int] = None
    node: int = 0
    time: float = 0.0
    type: str = ""
    message: str = ""
    traceback: str = ""
    cause: Optional[Cause] = field(default=None, metadata=OMIT)  # where the wrapper saw it itself


@dataclass(frozen=True)
class RankDone:
    """A rank attests that the training came to its end."""

    rank: int
    step: Optional[int] = None


@dataclass(frozen=True)
class RankProgress:
    """What rank 0 is doing."""

    state: Optional[str] = None
    step: Optional[int] = None
    steps: Optional[int] = None
    time: float = 0.0


@dataclass(frozen=True)
class LoggedStep:
    """The trainer's line of metrics. `seconds`: wall time since the line before; `tokens`: since step 0 of the run."""

    attempt: int
    generation: int
    step: int
    loss: Optional[float]  # None: not finite
    learning_rate: Optional[float]
    tokens: Optional[float]
    seconds: float
    tokens_per_second: Optional[float]
    peak_memory: Optional[int]  # bytes
    time: float


@dataclass(frozen=True)
class StepTime:
    """When a step was logged: of a line of metrics that the trainer or a script wrote."""

    step: int
    time: float = 0.0


@dataclass(frozen=True)
class JournalEntry:
    """An entry of a prune journal: what is about to be deleted, or that nothing may be deleted any more."""

    paths: tuple[str, ...] = field(default=(), metadata=OMIT)
    closed: bool = field(default=False, metadata=OMIT)


@dataclass(frozen=True)
class FileSum:
    """The size and SHA-256 of one file of a checkpoint."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """The manifest that proves a checkpoint: every file of it, by its relative path."""

    step: int
    files: Mapping[str, FileSum]
    generation: Optional[int] = None
    attempt: int = 0
    run_id: str = ""
    world_size: int = 0
    time: float = 0.0
    format: int = field(default=1, metadata=newest(1))
