"""job.json: what the agents and the ranks of a job read, their only source besides their arguments. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Optional

from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import OMIT, newest

FORMAT = 1
VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")  # in the words of a command; $$ is a dollar
SHELLS = frozenset({"bash", "sh", "dash", "zsh", "ksh"})  # one process a node, which starts the ranks itself


@dataclass(frozen=True)
class SecretSource:
    """Where a secret is read: a variable, a file, or a Kubernetes secret that is in the container's environment."""

    env: Optional[str] = field(default=None, metadata=OMIT)
    file: Optional[str] = field(default=None, metadata=OMIT)
    kubernetes: Optional[str] = field(default=None, metadata=OMIT)


@dataclass(frozen=True)
class Interface:
    """Network devices for NCCL and gloo."""

    socket: Optional[str] = None
    hcas: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """What the preflight asks of a node."""

    disk_bytes: Optional[int] = None
    shm_bytes: Optional[int] = None


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `join`: until all nodes are there; `hang`: None: a standstill is never judged."""

    join: float = 600.0
    heartbeat: float = 30.0
    grace: float = 900.0
    hang: Optional[float] = None


@dataclass(frozen=True)
class Signature:
    """What a pattern in an error says. `echo`: ranks also print it when another rank failed."""

    cause: Cause
    pattern: str
    retry: bool = True
    echo: bool = False


@dataclass(frozen=True)
class ModelSource:
    """A model by its path or name, or with `config` one of random weights."""

    path: Optional[str] = None
    revision: Optional[str] = None
    config: Optional[Mapping[str, object]] = None


@dataclass(frozen=True)
class TextData:
    """The text to train on."""

    sequence_length: int
    files: tuple[str, ...] = ()
    dataset: Optional[str] = None
    split: str = "train"
    text_field: str = "text"


@dataclass(frozen=True)
class Training:
    """What the built-in trainer does."""

    model: ModelSource
    tokenizer: Optional[str]
    data: TextData
    global_batch: int
    micro_batch: int
    accumulation: int
    learning_rate: float
    precision: str
    gradient_checkpointing: bool
    seed: int
    log_every: int
    args: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class JobFile:
    """One job as rendered. `checkpoint_dir` is relative to the run's directory, or absolute."""

    format: int = field(metadata=newest(FORMAT))
    name: str
    run_id: str
    nodes: int
    ranks_per_node: int
    checkpoint_dir: str
    max_failures: int
    device: str = "auto"
    launcher: str = "torchrun"
    python: Optional[str] = None
    command: Optional[tuple[str, ...]] = None
    code: Optional[str] = None
    processes_per_node: Optional[int] = field(default=None, metadata=OMIT)  # None: one for each rank
    instrument: bool = field(default=True, metadata=OMIT)
    every_steps: Optional[int] = None
    every_seconds: Optional[float] = None
    keep: int = 1
    steps: Optional[int] = None
    epochs: Optional[float] = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    interface: Interface = Interface()
    cache_dir: Optional[str] = None
    need: Need = Need()
    timeouts: Timeouts = Timeouts()
    signatures: tuple[Signature, ...] = ()
    training: Optional[Training] = None

    @property
    def processes(self) -> int:
        """Processes that are started on each node: its ranks, or one shell."""
        return self.processes_per_node or self.ranks_per_node

    @property
    def world_size(self) -> int:
        """Processes that are started in all."""
        return self.nodes * self.processes

    @property
    def root(self) -> Path:
        """The checkpoint directory, where it is absolute."""
        return Path(self.checkpoint_dir)
