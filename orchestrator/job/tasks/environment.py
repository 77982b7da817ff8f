"""submitit.JobEnvironment inside a rank of any orch run, from the variables of its agent and launcher."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from submitit.core.job_environment import JobEnvironment

from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import NodeJoined

# Set by the executor for the ranks of a function job.
JOB_ID = "SUBMITIT_ORCH_JOB_ID"
FOLDER = "SUBMITIT_FOLDER"
DIRECTORY = "SUBMITIT_ORCH_DIRECTORY"  # where the submitting process stood
MODULES = "SUBMITIT_ORCH_PATH"  # where it found modules that are not installed
PYTHON = "SUBMITIT_ORCH_PYTHON"  # its version, as in 3.11
SECONDS = "SUBMITIT_ORCH_SECONDS"  # of an attempt, after which a stop is a time-out
TIMER = "SUBMITIT_ORCH_TIMER"  # set: no scheduler keeps the time, so the task does
ONE_STREAM = "SUBMITIT_ORCH_STDERR_TO_STDOUT"


class OrchJobEnvironment(JobEnvironment):
    """Active in every rank that an orch agent has started, also in one of an ordinary job."""

    _env: ClassVar[dict[str, str]] = {
        "job_id": "ORCH_RUN",
        "num_tasks": "WORLD_SIZE",
        "node": "ORCH_NODE",
        "global_rank": "RANK",
        "local_rank": "LOCAL_RANK",
    }

    def activated(self) -> bool:
        return "ORCH_GENERATION_DIR" in os.environ and "RANK" in os.environ

    @property
    def job_id(self) -> str:
        return os.environ.get(JOB_ID) or self.raw_job_id

    @property
    def array_job_id(self) -> str | None:
        array, index = _split(self.job_id)
        return array if index else None

    @property
    def array_task_id(self) -> str | None:
        return _split(self.job_id)[1] or None

    @property
    def num_nodes(self) -> int:
        return parse(JobFile, Path(os.environ["ORCH_BUNDLE"], files.JOB_FILE).read_bytes()).nodes

    @property
    def hostnames(self) -> list[str]:
        """The machine of each node, by its number: every node has recorded it before any rank is started."""
        directory = Path(os.environ["ORCH_GENERATION_DIR"])
        joined = (directory / files.joined(node) for node in range(self.num_nodes))
        return [parse(NodeJoined, path.read_bytes(), str(path)).host for path in joined]


def _split(job_id: str) -> list[str]:
    array, _, index = job_id.partition("_")
    return [array, index]
