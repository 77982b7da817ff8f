"""Operations and answers as bytes: compressed JSON; an answer follows a mark, whatever a login shell prints around it.

A mark of its own tells that a request was begun: without an answer after it, what was done is unknown.
"""

from __future__ import annotations

import base64
import json
import zlib
from importlib import import_module
from typing import Any, Optional, Sequence, get_args

from orchestrator.job.protocol import encoding, operations
from orchestrator.job.protocol.operations import Operation
from orchestrator.job.remote.operations import Bug, Failure

VERSION = 3  # both sides run the same library; a number here makes a mistake in that visible
_MARK = f"orch-answer-{VERSION}:"
BEGUN = "\norch-site begins\n"


def pack(wanted: Sequence[Operation[Any]]) -> bytes:
    """A request for `python -m orchestrator.job.remote`."""
    calls = [[*_name(type(operation)), encoding.to_json(operation)] for operation in wanted]
    return zlib.compress(json.dumps({"version": VERSION, "calls": calls}).encode(), 1)


def unpack(content: bytes) -> list[Operation[Any]]:
    """The operations of a request."""
    request = json.loads(zlib.decompress(content))
    if request["version"] != VERSION:
        raise ValueError(f"wanted a request of version {VERSION}, found {request['version']}")
    return [encoding.from_json(_kind(module, name), fields) for module, name, fields in request["calls"]]


def _name(kind: type[Operation[Any]]) -> tuple[str, str]:
    return kind.__module__.rpartition(".")[2], kind.__name__


def _kind(module: str, name: str) -> type[Operation[Any]]:
    kind: type[Operation[Any]] = getattr(import_module(f"{operations.__name__}.{module}"), name)
    return kind


def reply(answers: Sequence[Any]) -> str:
    """The line that answers a request."""
    content = [[type(answer).__name__, encoding.to_json(answer)] for answer in answers]
    return f"\n{_MARK}{base64.b64encode(zlib.compress(json.dumps(content).encode(), 1)).decode()}\n"


def answers_in(output: str, wanted: Sequence[Operation[Any]]) -> Optional[list[Any]]:
    """The answers to some operations in what was printed, each a Failure, a Bug or of its operation's own type.

    None when there are none that are whole.
    """
    for line in reversed(output.splitlines()):
        _, mark, content = line.rpartition(_MARK)
        if mark:
            try:
                answers = json.loads(zlib.decompress(base64.b64decode(content)))
            except (ValueError, zlib.error):  # the connection broke in the middle of it
                return None
            return [_answer(operation, *answers[index]) for index, operation in enumerate(wanted)]
    return None


def has_begun(output: str) -> bool:
    """Whether a request was begun."""
    return BEGUN.strip() in output


def _answer(operation: Operation[Any], name: str, fields: Any) -> Any:
    (expected,) = get_args(vars(type(operation))["__orig_bases__"][0])
    return encoding.from_json({"Failure": Failure, "Bug": Bug}.get(name, expected), fields)
