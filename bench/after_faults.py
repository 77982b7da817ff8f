"""How long a training needs after a fault until it takes a step again, against the floor of what runs it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from measure import Row

KILLED = 7  # the step after which the fault comes; the newest checkpoint is that of step 5
STEP = 0.3  # seconds of a step
RUN = "tiny"


@dataclass(slots=True)
class Times:
    """Seconds: of orch from fault to step, of a bare job from fault to its return, of the training to a step."""

    orch: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)

    def row(self, figure: str, what: str) -> Row:
        """The medians; `what`: that of the bare job."""
        floor, start, orch = (statistics.median(one) for one in (self.bare, self.start, self.orch))
        return Row(
            figure=figure,
            measured=f"{orch:.1f} s",
            baseline=f"{floor:.1f} s ({what}) + {start:.1f} s (this training's start)",
            ratio=orch / (floor + start),
        )
