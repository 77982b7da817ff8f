"""job.json of the bundle, as the agent needs it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from orchestrator.job.agent.codes import HOPELESS, Ended
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import JOB_FILE
from orchestrator.job.protocol.jobfile import JobFile


def load(bundle: Path, run_dir: Path) -> JobFile:
    """The job, with an absolute checkpoint directory. Raises Ended when there is no job.json that this agent reads."""
    path = bundle / JOB_FILE
    try:
        job = parse(JobFile, path.read_bytes())
    except (OSError, RecordError) as error:
        because = f"{path} is not a job of this version: {error}. Render it again."
        raise Ended(HOPELESS, Cause.CONFIGURATION, because) from error
    run_id = os.environ.get("ORCH_RUN_ID") or job.run_id
    return replace(job, run_id=run_id, checkpoint_dir=str(run_dir / job.checkpoint_dir))
