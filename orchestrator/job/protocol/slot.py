"""Who has the slot of a node. Apart from the other records, for who submits needs none of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from orchestrator.job.protocol.encoding import OMIT


@dataclass(frozen=True)
class SlotMark:
    """The agent that was started for a slot (slot-0.json), or that holds it or held it last (lock-0)."""

    pid: Optional[int] = None
    start: Optional[str] = None
    host: Optional[str] = field(default=None, metadata=OMIT)
