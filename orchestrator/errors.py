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

from collections.abc import Sequence

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

    `file`, `line` (1-based) and `field` (dotted) say where, each None when it has no such place. `others`: more
    mistakes, which are shown below the first.
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
        others: Sequence[JobError] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.field = field
        self.others = tuple(others)

    def each(self) -> tuple[JobError, ...]:
        """This mistake by itself, and the others."""
        alone = JobError(self.message, hint=self.hint, file=self.file, line=self.line, field=self.field)
        return alone, *self.others

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        first = ": ".join(part for part in (place, self.field, self.message) if part)
        return "\n".join([first, *(f"{error}{_aside(error.hint)}" for error in self.others)])


def _aside(hint: str | None) -> str:
    return f" ({hint[:1].lower()}{hint[1:].rstrip('.')})" if hint else ""


def together(errors: Sequence[JobError]) -> JobError:
    """One error for all of them; there must be one. The hint of each stands behind its message if there are several."""
    first, *others = (each for error in errors for each in error.each())
    if not others:
        return first
    return JobError(
        f"{first.message}{_aside(first.hint)}", file=first.file, line=first.line, field=first.field, others=others
    )


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
