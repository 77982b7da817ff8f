"""What an attempt's files say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Mapping, Optional

from orchestrator.job.protocol.operations import Operation
from orchestrator.job.protocol.records import Ending
from orchestrator.job.protocol.report import Generation, Mark, Metrics, Report


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

    performed_by: ClassVar[str] = "records.read_records"
    run: str
    run_id: str
    dir: str
    checkpoint_dir: str
    attempt: int
    nodes: int
    after: Optional[int] = None
    metrics: bool = False
    mark: Optional[Mark] = None
