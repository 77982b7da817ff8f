"""Commands that are run where a cluster is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from orchestrator.job.protocol.operations import Operation


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

    performed_by: ClassVar[str] = "commands.run"
    argv: tuple[str, ...]
    timeout: float = 60.0
