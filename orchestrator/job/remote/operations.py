"""Performs operations: which function each one is, and what of an error comes back."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable, Union

from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.operations import Operation


@dataclass(frozen=True)
class Failure:
    """An operation that failed in the world. `passing`: the same operation may well succeed a little later."""

    message: str
    passing: bool


@dataclass(frozen=True)
class Bug:
    """An operation that failed by a mistake of orch's, with its traceback there."""

    traceback: str


def function_of(kind: type[Operation[Any]]) -> Callable[[Operation[Any]], Any]:
    """The function that performs operations of a kind. A process loads the modules of what it performs."""
    module, name = kind.performed_by.split(".")
    function: Callable[[Operation[Any]], Any] = getattr(import_module(f"orchestrator.job.remote.{module}"), name)
    return function


def perform(operation: Operation[Any]) -> Any:
    """Perform an operation: its answer, or a Failure."""
    try:
        return function_of(type(operation))(operation)
    except RecordError as error:
        return Failure(str(error), passing=False)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror or error}", error.errno in _PASSING)


def perform_for_another(operation: Operation[Any]) -> Union[Failure, Bug, Any]:
    """The same for a process elsewhere, which is to see a bug, too."""
    try:
        return perform(operation)
    except Exception:  # noqa: BLE001 - it is raised again on the other side
        return Bug(traceback.format_exc())


# A shared file system that is away, full for now, or was mounted anew; a machine with too many processes for now.
_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
