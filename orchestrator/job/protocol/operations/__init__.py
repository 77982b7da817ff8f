"""Operations on the machine that sees a cluster's files: a request, and the type of its answer. Pure.

The other side of ssh always runs the library of the same version (its directory is named by the library's digest), so
requests and answers may change freely. What they leave on disk may not: see `ChosenHosts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

SECONDS = 60.0  # for what is not told how long it may take
Answer_co = TypeVar("Answer_co", covariant=True)


class Operation(Generic[Answer_co]):
    """A request whose answer is of the type in brackets, a dataclass."""

    performed_by: ClassVar[str]  # a module of orchestrator.job.remote and a function in it


@dataclass(frozen=True)
class Done:
    """The answer of an operation that has nothing to report."""


@dataclass(frozen=True)
class OnAttempt(Operation[Answer_co]):
    """An operation on an attempt of the run in the directory `dir`."""

    dir: str
    attempt: int
