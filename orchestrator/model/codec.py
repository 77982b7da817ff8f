"""Records of the store as JSON text and back. `orch status --json` shows the same keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from orchestrator.job.protocol.encoding import parse, to_json

T = TypeVar("T")


def dump(value: Any) -> str:
    """A record, or an event's data."""
    plain = value if isinstance(value, Mapping) else to_json(value)
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def load(kind: type[T], text: str) -> T:
    """Raises RecordError."""
    return parse(kind, text, "the store")
