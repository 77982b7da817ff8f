"""Requests and answers as bytes: compressed JSON; an answer stands on a marked line, whatever a login shell prints."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

_MARK = "orch-site:"


def pack(calls: list[Any]) -> bytes:
    """A request for `python -m orchestrator.site`. Bytes in it arrive as base64."""
    return zlib.compress(json.dumps(calls, default=lambda content: base64.b64encode(content).decode()).encode(), 1)


def request(content: bytes) -> list[Any]:
    """The calls of a request."""
    calls: list[Any] = json.loads(zlib.decompress(content))
    return calls


def reply(answers: list[Any]) -> str:
    """The line that answers a request."""
    return f"{_MARK}{base64.b64encode(zlib.compress(json.dumps(answers).encode(), 1)).decode()}\n"


def answers_in(output: str) -> list[Any] | None:
    """The answers in what a site printed; None when there are none."""
    for line in reversed(output.splitlines()):
        if line.startswith(_MARK):
            answers: list[Any] = json.loads(zlib.decompress(base64.b64decode(line[len(_MARK) :])))
            return answers
    return None
