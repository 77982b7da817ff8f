"""The operations by name, and how a list of calls is performed."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any, Mapping, Sequence

# Where each one is: a module of this package, and a function that takes the request. A process loads what it performs.
OPERATIONS: Mapping[str, str] = {
    "run": "commands.run",
    "place": "attempts.place",
    "ask": "attempts.ask",
    "forget": "attempts.forget",
    "look": "records.look",
    "meet": "agents.meet",
    "chosen": "agents.chosen",
    "check": "agents.check",
    "start": "agents.start",
    "slots": "agents.slots",
    "tell": "agents.tell",
    "kill": "agents.kill",
    "logs": "texts.logs",
    "checkpoints": "texts.checkpoints",
    "slurm.submit": "slurm.submit",
}


def perform(calls: Sequence[Any]) -> list[Any]:
    """Performs calls (operation, request) in their order.

    An answer is {"value": ...} or {"error": "words", "passing": whether the same call may well succeed a little later}.
    """
    return [_perform(operation, request) for operation, request in calls]


def _perform(operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        module, function = OPERATIONS[operation].split(".")
        return {"value": getattr(import_module(f"orchestrator.job.remote.{module}"), function)(request)}
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return {"error": f"{place}{error.strerror or error}", "passing": error.errno in _PASSING}


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
