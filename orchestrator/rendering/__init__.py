"""Spec, Plan and template text -> Bundle. Pure: templates, hosts and what lies on disk are arguments."""

from __future__ import annotations

from orchestrator.rendering.render import render
from orchestrator.rendering.request import KindRendering, RenderRequest

__all__ = ["KindRendering", "RenderRequest", "render"]
