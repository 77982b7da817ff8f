"""What follows from what was seen. Pure: the clock and the observation are arguments."""

from orchestrator.policy.rules import LIMITS, LIVE, Limits, Watched, decide, is_due

__all__ = ["LIMITS", "LIVE", "Limits", "Watched", "decide", "is_due"]
