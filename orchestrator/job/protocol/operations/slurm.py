"""An attempt handed over to Slurm. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

from orchestrator.job.protocol.operations import Operation
from orchestrator.job.protocol.operations.attempts import Upload, Uploaded
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand


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

    performed_by: ClassVar[str] = "slurm.submit"
    upload: Upload
    sbatch: RunCommand
