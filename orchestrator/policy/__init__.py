"""What follows from what was seen. Pure: the clock and the observation are arguments."""

from orchestrator.policy.rules import LIMITS, Limits, Watched, decide

__all__ = ["LIMITS", "Limits", "Watched", "decide"]
