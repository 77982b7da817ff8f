"""When to poll Slurm: often while something changes, else seldom, never faster than the site allows."""

from __future__ import annotations

FLOOR = 5.0
CEILING = 60.0
_SLOWER = 1.5
_SLOWEST = 12  # times the floor: a site that allows short pauses has shorter long ones, too


class PollTimer:
    """Seconds on the caller's monotonic clock. `floor` is the least pause between two polls, urgent or not."""

    def __init__(self, floor: float | None) -> None:
        self._floor = FLOOR if floor is None else floor
        self._ceiling = max(self._floor, min(CEILING, _SLOWEST * self._floor))
        self._pause = self._floor
        self._asked: float | None = None

    def is_due(self, now: float, *, urgent: bool) -> bool:
        """Whether to poll now. `urgent`: the last answer is known to be out of date."""
        if self._asked is None:
            return True
        return now - self._asked >= (self._floor if urgent else self._pause)

    def answered(self, now: float, *, changed: bool) -> None:
        """There was an answer. `changed`: it differs from the last one."""
        self._asked = now
        self._pause = self._floor if changed else self._slower()

    def failed(self, now: float) -> None:
        """There was none: an overloaded controller needs fewer polls, not more."""
        self._asked = now
        self._pause = self._slower()

    def _slower(self) -> float:
        return min(self._pause * _SLOWER, self._ceiling)
