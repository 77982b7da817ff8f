"""What is done to a run as a whole. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

from orchestrator.job.protocol.operations import Operation


@dataclass(frozen=True)
class Removed:
    """`refused`: why nothing was removed. `left`: what of the run stays, for people; "" where nothing does."""

    refused: Optional[str] = None
    left: str = ""


@dataclass(frozen=True)
class RemoveRun(Operation[Removed]):
    """Delete the files of a run of which nothing is alive; its checkpoint directory only with `checkpoints`."""

    performed_by: ClassVar[str] = "runs.remove"
    run: str
    run_id: str
    dir: str
    checkpoint_dir: str
    checkpoints: bool = False
    dry: bool = False  # only say whether it would be refused
