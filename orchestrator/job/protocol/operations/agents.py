"""Agents of an attempt on the hosts of a list, or on a machine that is alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Mapping, Optional

from orchestrator.job.protocol.operations import OnAttempt, Operation


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
class ReadToken(OnAttempt[Token]):
    """Read the random token in an attempt's directory, made by the first to ask."""

    performed_by: ClassVar[str] = "agents.read_token"


@dataclass(frozen=True)
class ReadHosts(OnAttempt[Choice]):
    """Read which hosts were chosen for an attempt."""

    performed_by: ClassVar[str] = "agents.read_hosts"


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
class CheckHost(OnAttempt[HostFacts]):
    """Check whether this host sees the attempt's directory and can run the job's interpreter."""

    performed_by: ClassVar[str] = "agents.check"
    token: str


@dataclass(frozen=True)
class Agent:
    """The agent of a node: its command, and what its environment has beside that of the host."""

    node: int
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # secrets among it


@dataclass(frozen=True)
class Start(OnAttempt[Choice]):
    """Start agents on this host, each once, if hosts.json holds this choice or none.

    `chosen`: None on a machine that is alone, which has no hosts.json. `inherits`: the agents get this process's
    environment, too.
    """

    performed_by: ClassVar[str] = "agents.start"
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
class ReadSlots(OnAttempt[Slots]):
    """Read the slots of `nodes`, which must be this host's."""

    performed_by: ClassVar[str] = "agents.slots"
    start: str
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Remaining:
    """Processes that were sent a signal and have not ended."""

    pids: tuple[int, ...]


@dataclass(frozen=True)
class Terminate(Operation[Remaining]):
    """Send SIGTERM to the agents of a start on this host."""

    performed_by: ClassVar[str] = "agents.terminate"
    start: str


@dataclass(frozen=True)
class Kill(Operation[Remaining]):
    """Send SIGKILL to every process of a start on this host until none is left; answer those that do not die."""

    performed_by: ClassVar[str] = "agents.kill"
    start: str
