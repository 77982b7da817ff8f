"""Handing an attempt to Slurm: its files and the command that submits it, in one go, so that one ssh does both."""

from __future__ import annotations

from typing import Any, Mapping

from orchestrator.site import attempts, commands


def submit(request: Mapping[str, Any]) -> dict[str, Any]:
    """`place`, and then `run` where nobody tried to hand this attempt over before and nobody asked it to end.

    The answer is that of `place` with what the command said as `ran`, None where it was not run. Raises OSError.
    """
    placed = attempts.place(request["place"])
    return {**placed, "ran": commands.run(request["run"]) if placed["first"] else None}
