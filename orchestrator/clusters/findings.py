"""Finding and Checkup: what was checked, its state, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.job.protocol.operations.commands import CommandResult

Answer = CommandResult
Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked. A problem keeps jobs from running; `todo` says what to do about it."""

    what: str
    level: Level
    found: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All findings of a cluster, and what follows for its jobs, in sentences."""

    cluster: str
    kind: str
    findings: tuple[Finding, ...]
    can: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()

    @property
    def hopeless(self) -> bool:
        """Whether a problem would keep a job from running."""
        return any(finding.level == "problem" for finding in self.findings)


Findings = tuple[list[Finding], list[str], list[str]]  # what was found, what orch can promise there, what it cannot


def ok(what: str, found: str) -> Finding:
    return Finding(what=what, level="ok", found=found)


def warning(what: str, found: str, todo: str) -> Finding:
    return Finding(what=what, level="warning", found=found, todo=todo)


def problem(what: str, found: str, todo: str) -> Finding:
    return Finding(what=what, level="problem", found=found, todo=todo)


def last_line(answer: Answer) -> str:
    """The last line of output of a command that failed."""
    if answer.status is None:
        return "it did not answer in time"
    lines = [line.strip() for line in f"{answer.stdout}\n{answer.stderr}".splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit status {answer.status}"
