"""Records in files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Optional, TypeVar

from orchestrator.job.protocol.encoding import from_json, parse, to_json
from orchestrator.job.protocol.errors import RecordError

T = TypeVar("T")


def append(path: Path, record: object) -> None:
    """Adds a record to a file of one JSON object a line. Raises OSError."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(to_json(record)) + "\n")


def read_all(kind: type[T], path: Path) -> list[T]:
    """The records of such a file; a torn line, of a process that was killed, is left out. Raises OSError."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(RecordError):
            found.append(parse(kind, line))
    return found


def read(kind: type[T], path: Path) -> Optional[T]:
    """The record in `path`; None when there is none, or none that is whole.

    Raises OSError when it cannot be read, and RecordError when it is whole and not such a record.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return from_json(kind, value, str(path))
