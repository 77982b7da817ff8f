"""What is done to the directory of an attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Mapping, Optional

from orchestrator.job.protocol.operations import Done, OnAttempt


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
class Upload(OnAttempt[Uploaded]):
    """Write an attempt's bundle, whole or not at all, and its secrets, unless it was asked to stop."""

    performed_by: ClassVar[str] = "attempts.upload"
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
class RequestStop(OnAttempt[StopRequested]):
    """Record that the attempt shall end: from then on nothing is started for it."""

    performed_by: ClassVar[str] = "attempts.request_stop"


@dataclass(frozen=True)
class DeleteSecrets(OnAttempt[Done]):
    """Remove the secrets of an attempt that is over."""

    performed_by: ClassVar[str] = "attempts.delete_secrets"
