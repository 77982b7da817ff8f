"""Logs and checkpoints of an attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Mapping, Optional

from orchestrator.job.protocol.operations import Operation
from orchestrator.job.protocol.report import Listed


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

    performed_by: ClassVar[str] = "texts.logs"
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
    """`base`: the absolute directory that the listed paths start at.

    `below`: where nothing is listed, the directories below it that have some.
    """

    base: str
    listed: tuple[Listed, ...]
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListCheckpoints(Operation[CheckpointList]):
    """List the checkpoints below `root`, or `root` itself if it is one. `verify`: read every file."""

    performed_by: ClassVar[str] = "texts.checkpoints"
    root: str
    verify: bool = False
    run: str = ""
