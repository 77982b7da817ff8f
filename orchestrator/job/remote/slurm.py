"""Handing an attempt to Slurm: its files and the command that submits it, in one go, so that one ssh does both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Mapping

from orchestrator.job.remote import attempts, commands

_SLACK = 60.0  # seconds that the clocks of a file server and of slurmctld may be apart


def submit(request: Mapping[str, Any]) -> dict[str, Any]:
    """`place`, and then `run` where nobody tried to hand this attempt over before and nobody asked it to end.

    The answer is that of `place` with what the command said as `ran`, None where it was not run, and with `since`: no
    job of the attempt was submitted before, in the words and the time zone of sacct here. Raises OSError.
    """
    placed = attempts.place(request["place"])
    since = tried_since(attempts.directory(request["place"]))
    return {**placed, "since": since, "ran": commands.run(request["run"]) if placed["first"] else None}


def tried_since(place: Path) -> str | None:
    """When somebody first tried to hand an attempt over, None when nobody did. Raises OSError."""
    try:
        tried = (place / attempts.TRIED).stat().st_mtime
    except FileNotFoundError:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(tried - _SLACK))
