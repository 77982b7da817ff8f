"""From what was asked and what is known of the place to a Plan. Pure: facts of the world are arguments."""

from __future__ import annotations

from orchestrator.planner.modelcheck import check as check_model
from orchestrator.planner.plan import make_plan

__all__ = ["check_model", "make_plan"]
