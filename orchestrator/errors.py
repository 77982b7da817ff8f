"""The errors that orch shows to a person, and the exit code each of them ends with.

OrchError
├── JobError              2   the job file, the configuration or the command line is wrong
├── PlanError             3   the job cannot fit where it was asked to run
├── ClusterError          4   the cluster said no
│   └── Unreachable       4   the cluster did not answer: what happened there is not known
└── StoreError            5   the store cannot be read or written

Every message says what was wanted, what was found and where; `hint` says what to do next.
"""

from __future__ import annotations

OK = 0
RUN_FAILED = 10
RUN_CANCELLED = 11
INTERRUPTED = 130


class OrchError(Exception):
    """Something a person can act on; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class JobError(OrchError):
    """The job file, the configuration or the command line is wrong.

    `file`, `line` (1-based) and `field` (dotted) say where, each None when it has no such place.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.field = field

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        return ": ".join(part for part in (place, self.field, self.message) if part)


class PlanError(OrchError):
    """The job cannot fit where it was asked to run."""

    exit_code = 3


class ClusterError(OrchError):
    """The cluster said no."""

    exit_code = 4


class Unreachable(ClusterError):
    """The cluster did not answer: what happened there is not known, so nothing may be assumed."""


class StoreError(OrchError):
    """The store cannot be read or written."""

    exit_code = 5
