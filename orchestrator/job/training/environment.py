"""The environment of a rank: the ORCH_ variables, torchrun's variables and the bundle's job.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import DS_CONFIG, JOB_FILE
from orchestrator.job.protocol.jobfile import JobFile


class TrainingError(Exception):
    """An error that the job's owner can fix. The message is a sentence; no traceback is shown with it.

    With a `cause` the run ends as that; without one, what the message says decides.
    """

    cause: Optional[Cause] = None


class ConfigurationError(TrainingError):
    cause = Cause.CONFIGURATION


class DataError(TrainingError):
    cause = Cause.DATA


class ModelError(TrainingError):
    cause = Cause.MODEL


@dataclass(frozen=True)
class Environment:
    """One rank's place in a generation of a run. Paths are absolute; `resume_from` is None when it starts at step 0."""

    run: str
    run_id: str
    attempt: int
    generation: int
    node: int
    rank: int
    local_rank: int
    world_size: int
    generation_dir: str
    checkpoint_dir: str
    bundle: str
    ds_config: str
    resume_from: Optional[str]
    resume_step: int
    job: JobFile

    @property
    def root(self) -> str:
        """The checkpoint directory of the run: two above the generation's own."""
        return os.path.dirname(os.path.dirname(self.generation_dir))

    @property
    def model_dir(self) -> str:
        """Where the finished model belongs."""
        return os.path.join(self.generation_dir, "model")


def read_environment(env: Optional[Mapping[str, str]] = None) -> Optional[Environment]:
    """The environment of this process, or None when no orch agent started it.

    Raises TrainingError when job.json of the bundle can't be read.
    """
    env = os.environ if env is None else env
    if "ORCH_GENERATION_DIR" not in env:
        return None
    return Environment(
        run=env["ORCH_RUN"],
        run_id=env["ORCH_RUN_ID"],
        attempt=int(env["ORCH_ATTEMPT"]),
        generation=int(env["ORCH_GENERATION"]),
        node=int(env.get("ORCH_NODE", "0")),
        rank=int(env.get("RANK", "0")),
        local_rank=int(env.get("LOCAL_RANK", "0")),
        world_size=int(env.get("WORLD_SIZE", "1")),
        generation_dir=env["ORCH_GENERATION_DIR"],
        checkpoint_dir=env["ORCH_CHECKPOINT_DIR"],
        bundle=env["ORCH_BUNDLE"],
        ds_config=env.get("ORCH_DS_CONFIG", os.path.join(env["ORCH_BUNDLE"], DS_CONFIG)),
        resume_from=env.get("ORCH_RESUME_FROM") or None,
        resume_step=int(env.get("ORCH_RESUME_STEP") or 0),
        job=_read_job(os.path.join(env["ORCH_BUNDLE"], JOB_FILE)),
    )


def _read_job(path: str) -> JobFile:
    try:
        with open(path, "rb") as file:
            return parse(JobFile, file.read())
    except (OSError, RecordError) as error:
        raise TrainingError(f"The job's description {path} cannot be read: {error}. Submit the job again.") from error
