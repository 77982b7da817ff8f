"""Records of agents in pods for readers without their disk: in node 0's log and in termination messages. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from orchestrator.job.protocol.encoding import OMIT
from orchestrator.job.protocol.records import Ending
from orchestrator.job.protocol.report import Generation, Listed, MetricsLine, Report

PREFIX = "[orch] "  # of a line of the log that is one JSON object, a LogRecord


@dataclass(frozen=True)
class MetricsNews:
    """Logged steps of a generation."""

    generation: int
    lines: tuple[MetricsLine, ...]


@dataclass(frozen=True)
class LogRecord:
    """One line of node 0's log. One of the fields is set."""

    report: Optional[Report] = field(default=None, metadata=OMIT)
    generation: Optional[Generation] = field(default=None, metadata=OMIT)
    metrics: Optional[MetricsNews] = field(default=None, metadata=OMIT)
    checkpoints: Optional[tuple[Listed, ...]] = field(default=None, metadata=OMIT)


@dataclass(frozen=True)
class LastRecord:
    """A termination message. `owner`: the id of the run that owns the directory; `ended`: how the agent ended."""

    node: int
    attempt: int = 0
    start: Optional[str] = None
    owner: Optional[str] = field(default=None, metadata=OMIT)
    report: Optional[Report] = field(default=None, metadata=OMIT)
    ended: Optional[Ending] = field(default=None, metadata=OMIT)
