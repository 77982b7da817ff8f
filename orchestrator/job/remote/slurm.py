"""Submitting an attempt to Slurm: its files and sbatch, in one go, so that one ssh does both."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator.job.protocol import files
from orchestrator.job.protocol.operations.slurm import SubmittedToSlurm, SubmitToSlurm
from orchestrator.job.remote import attempts, commands

_SLACK = 60.0  # seconds that the clocks of a file server and of slurmctld may be apart


def submit(request: SubmitToSlurm) -> SubmittedToSlurm:
    """Raises OSError."""
    uploaded = attempts.upload(request.upload)
    since = tried_since(attempts.directory(request.upload))
    return SubmittedToSlurm(uploaded, since, commands.run(request.sbatch) if uploaded.first else None)


def tried_since(place: Path) -> str | None:
    """When a process first tried to submit an attempt, None when none did. Raises OSError."""
    try:
        tried = (place / files.TRIED).stat().st_mtime
    except FileNotFoundError:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(tried - _SLACK))
