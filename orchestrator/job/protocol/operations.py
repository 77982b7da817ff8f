"""Operations on the machine that sees a cluster's files: a request, and the type of its answer. Pure.

The other side of ssh always runs the library of the same version (its directory is named by the library's digest), so
requests and answers may change freely. What they leave on disk may not: see `ChosenHosts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Mapping, Optional, TypeVar

from orchestrator.job.protocol.records import Ending
from orchestrator.job.protocol.report import Generation, Listed, Mark, Metrics, Report

Answer_co = TypeVar("Answer_co", covariant=True)


class Operation(Generic[Answer_co]):
    """A request whose answer is of the type in brackets, a dataclass."""


@dataclass(frozen=True)
class Done:
    """The answer of an operation that has nothing to report."""


# --- commands


@dataclass(frozen=True)
class CommandResult:
    """`status` is None when the command did not end in time, which says nothing of what it did.

    Output that is not UTF-8 keeps its bytes as escapes. `seconds`: how long it took.
    """

    status: Optional[int]
    stdout: str = ""
    stderr: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class RunCommand(Operation[CommandResult]):
    """Run `argv` without the variables that change the answers of Slurm's commands."""

    argv: tuple[str, ...]
    timeout: float = 60.0


# --- the directory of an attempt


@dataclass(frozen=True)
class UploadFile:
    path: str  # below the bundle
    executable: bool
    content: bytes


@dataclass(frozen=True)
class Uploaded:
    """`refused`: why not, when the run's directory is another run's. `asked`: the attempt was asked to stop.

    `first`: nobody has tried to submit this attempt before. `job`: the scheduler's job that has claimed it.
    """

    refused: Optional[str]
    first: bool
    job: Optional[str]
    asked: bool


@dataclass(frozen=True)
class Upload(Operation[Uploaded]):
    """Write an attempt's bundle, whole or not at all, and its secrets, unless it was asked to stop."""

    dir: str
    attempt: int
    run: str
    run_id: str
    files: tuple[UploadFile, ...]
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StopRequested:
    """`first`: nobody requested it before. `job`: the scheduler's job that has claimed the attempt."""

    first: bool
    job: Optional[str]


@dataclass(frozen=True)
class RequestStop(Operation[StopRequested]):
    """Record that the attempt shall end: from then on nothing is started for it."""

    dir: str
    attempt: int


@dataclass(frozen=True)
class DeleteSecrets(Operation[Done]):
    """Remove the secrets of an attempt that is over."""

    dir: str
    attempt: int


@dataclass(frozen=True)
class SubmittedToSlurm:
    """`ran`: the result of sbatch, None when it was not called.

    `since`: no job of the attempt was submitted before, in the format and the time zone of sacct there.
    """

    uploaded: Uploaded
    since: Optional[str]
    ran: Optional[CommandResult]


@dataclass(frozen=True)
class SubmitToSlurm(Operation[SubmittedToSlurm]):
    """Upload an attempt and, if nobody has tried to submit it before, call sbatch: one ssh does both."""

    upload: Upload
    sbatch: RunCommand


# --- records


@dataclass(frozen=True)
class AttemptRecords:
    """The records of one attempt and of its run.

    `owner`: the run that the checkpoint directory belongs to, when it is another one. `asked`: it was asked to stop.
    `ended`: how its agents ended, by node. `job`: the scheduler's job that has claimed the attempt.
    """

    owner: Optional[str]
    report: Report
    asked: bool
    ended: Mapping[int, Ending]
    last_words: str = ""
    job: Optional[str] = None
    generations: tuple[Generation, ...] = ()
    metrics: Optional[Metrics] = None


@dataclass(frozen=True)
class ReadRecords(Operation[AttemptRecords]):
    """`after`: generations above this number are wanted, None: none are.

    `metrics`: lines of metrics are wanted, those after `mark`, None: all that count.
    """

    run: str
    run_id: str
    dir: str
    checkpoint_dir: str
    attempt: int
    nodes: int
    after: Optional[int] = None
    metrics: bool = False
    mark: Optional[Mark] = None


# --- agents as detached processes on hosts


@dataclass(frozen=True)
class ChosenHost:
    name: str
    nodename: str
    slots: int


@dataclass(frozen=True)
class ChosenHosts:
    """hosts.json in an attempt's directory: its hosts by node. `passed_over`: other hosts, and why they have none."""

    start: str
    address: str
    hosts: tuple[ChosenHost, ...]
    passed_over: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.hosts)


@dataclass(frozen=True)
class Choice:
    """The hosts that were chosen for an attempt; None when none were."""

    chosen: Optional[ChosenHosts]


@dataclass(frozen=True)
class Token:
    """The attempt's token, and the hosts that were chosen for it, if they were."""

    token: Optional[str]
    chosen: Optional[ChosenHosts]


@dataclass(frozen=True)
class ReadToken(Operation[Token]):
    """Read the random token in an attempt's directory, made by the first to ask."""

    dir: str
    attempt: int


@dataclass(frozen=True)
class ReadHosts(Operation[Choice]):
    """Read which hosts were chosen for an attempt."""

    dir: str
    attempt: int


@dataclass(frozen=True)
class Interpreter:
    version: tuple[int, ...]
    executable: str
    torch: bool
    deepspeed: bool = False


@dataclass(frozen=True)
class HostFacts:
    """`address`: where ssh reached this host. `sees`: it sees the token.

    `python` is None when it could not be run; `printed` is what was printed instead.
    """

    nodename: str
    address: Optional[str]
    sees: bool
    python: Optional[Interpreter] = None
    printed: str = ""


@dataclass(frozen=True)
class CheckHost(Operation[HostFacts]):
    """Check whether this host sees the attempt's directory and can run the job's interpreter."""

    dir: str
    attempt: int
    token: str


@dataclass(frozen=True)
class Agent:
    """The agent of a node: its command, and what its environment has beside that of the host."""

    node: int
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # secrets among it


@dataclass(frozen=True)
class Start(Operation[Choice]):
    """Start agents on this host, each once, if hosts.json holds this choice or none.

    `chosen`: None on a machine that is alone, which has no hosts.json. `inherits`: the agents get this process's
    environment, too.
    """

    dir: str
    attempt: int
    start: str
    agents: tuple[Agent, ...]
    chosen: Optional[ChosenHosts] = None
    inherits: bool = True


@dataclass(frozen=True)
class Slot:
    """The place of a node's agent on a host. `state`: unused, live, gone, or elsewhere: started on `host`, not here."""

    node: int
    state: str
    host: Optional[str] = None


@dataclass(frozen=True)
class Slots:
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class ReadSlots(Operation[Slots]):
    """Read the slots of `nodes`, which must be this host's."""

    dir: str
    attempt: int
    start: str
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Remaining:
    """Processes that were sent a signal and have not ended."""

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Terminate(Operation[Remaining]):
    """Send SIGTERM to the agents of a start on this host."""

    start: str


@dataclass(frozen=True)
class Kill(Operation[Remaining]):
    """Send SIGKILL to every process of a start on this host until none is left; answer those that do not die."""

    start: str


# --- logs and checkpoints, for people


@dataclass(frozen=True)
class LogSource:
    """One log file. `kind` is job (a scheduler's output file), agent, launcher or rank; `section` where it belongs."""

    path: str
    kind: str
    number: int
    section: str


@dataclass(frozen=True)
class LogTexts:
    """`texts`: what is new, by path. `more`: one answer does not hold it all. `streams`: a next answer is at hand."""

    sources: tuple[LogSource, ...]
    texts: Mapping[str, bytes]
    more: bool
    streams: bool = False


@dataclass(frozen=True)
class ReadLogs(Operation[LogTexts]):
    """Read the log files of an attempt. `offsets`: bytes that are known already, by path; `rank`: only its log."""

    run: str
    run_id: str
    dir: str
    checkpoint_dir: str
    attempt: int
    rank: Optional[int] = None
    offsets: Mapping[str, int] = field(default_factory=dict)
    follow: bool = False


@dataclass(frozen=True)
class CheckpointList:
    """`base`: the absolute directory that the listed paths start at."""

    base: str
    listed: tuple[Listed, ...]


@dataclass(frozen=True)
class ListCheckpoints(Operation[CheckpointList]):
    """List the checkpoints below `root`, or `root` itself if it is one. `verify`: read every file."""

    root: str
    verify: bool = False
    run: str = ""
