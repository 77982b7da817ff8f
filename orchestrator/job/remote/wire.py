"""Requests and answers as bytes: compressed JSON; an answer stands behind a mark, whatever a login shell prints.

A mark of its own says that a request was begun: without an answer after it nobody knows what was done.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

_MARK = "orch-site:"
BEGUN = "\norch-site begins\n"


def pack(calls: list[Any]) -> bytes:
    """A request for `python -m orchestrator.job.remote`. Bytes in it arrive as base64."""
    return zlib.compress(json.dumps(calls, default=lambda content: base64.b64encode(content).decode()).encode(), 1)


def request(content: bytes) -> list[Any]:
    """The calls of a request."""
    calls: list[Any] = json.loads(zlib.decompress(content))
    return calls


def reply(answers: list[Any]) -> str:
    """The line that answers a request."""
    return f"\n{_MARK}{base64.b64encode(zlib.compress(json.dumps(answers).encode(), 1)).decode()}\n"


def answers_in(output: str) -> list[Any] | None:
    """The answers in what a site printed; None when there are none that are whole."""
    for line in reversed(output.splitlines()):
        _, mark, content = line.rpartition(_MARK)
        if mark:
            return _decoded(content)
    return None


def has_begun(output: str) -> bool:
    """Whether a request was begun."""
    return BEGUN.strip() in output


def _decoded(content: str) -> list[Any] | None:
    try:
        answers: list[Any] = json.loads(zlib.decompress(base64.b64decode(content)))
    except (ValueError, zlib.error):  # the connection broke in the middle of it
        return None
    return answers
