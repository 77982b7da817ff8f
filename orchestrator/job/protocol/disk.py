"""Records in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional, TypeVar

from orchestrator.job.protocol.encoding import from_json

T = TypeVar("T")


def read(kind: type[T], path: Path) -> Optional[T]:
    """The record in `path`; None when there is none, or none that is whole.

    Raises OSError when it cannot be read, and RecordError when it is whole and not such a record.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return from_json(kind, value, str(path))
