"""OrchExecutor: submitit's executor whose jobs are runs of orch."""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit.core import core
from submitit.core.utils import DelayedSubmission, FailedSubmissionError, JobPaths

from orchestrator.clusters import kind_of
from orchestrator.errors import OrchError
from orchestrator.job.tasks import environment as names
from orchestrator.job.tasks import pickles
from orchestrator.model.cluster import Profile
from orchestrator.model.spec import Checkpoint, Resources, Restart, Spec
from orchestrator.rendering import needs
from orchestrator.submitit import desk, parameters
from orchestrator.submitit.job import OrchJob, run_of
from orchestrator.submitit.parameters import Asked

TASK = "-m orchestrator.job.tasks"
GIB = 2**30
_ID_LENGTH = 10
_LONGEST_NAME = 40 - _ID_LENGTH - len("--9999")


class OrchExecutor(core.Executor):
    """Submits functions to a cluster of orch's configuration, the default one unless named.

    `folder` must be one that the cluster's nodes see. `max_num_timeout`: how often a Checkpointable may run into its
    time limit and go on; `max_pickle_size_gb` is as in submitit. Raises FailedSubmissionError for an unknown cluster.
    """

    job_class = OrchJob

    def __init__(
        self,
        folder: Path | str,
        cluster: str | None = None,
        *,
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
    ) -> None:
        super().__init__(folder)
        self.max_num_timeout = max_num_timeout
        self.max_pickle_size_gb = max_pickle_size_gb
        try:
            self.cluster, self._profile = desk.profile_of(cluster)
        except OrchError as error:
            raise FailedSubmissionError(desk.message(error)) from error

    @classmethod
    def name(cls) -> str:
        return "orch"

    @classmethod
    def affinity(cls) -> int:
        return 0  # AutoExecutor takes it when it is asked for by name, and chooses among the others as before

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(parameters.OWN)

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        """Raises ValueError for a parameter that means nothing here, or does not suit the cluster."""
        together = {**self.parameters, **parameters.check(kwargs)}
        asked = parameters.read(together)
        parameters.changed(self.cluster, self._profile, asked.changes)
        self.parameters.update(together)

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[core.Job[Any]]:
        """Each is a run of its own. All of them are submitted, or those that were are cancelled again."""
        asked = parameters.read(self.parameters)
        profile = parameters.changed(self.cluster, self._profile, asked.changes)
        job_ids = _job_ids(asked.name, len(delayed_submissions))
        for job_id, delayed in zip(job_ids, delayed_submissions, strict=True):
            self._store(job_id, delayed, asked, of=len(job_ids))
        specs = [_spec(self.folder, job_id, asked, profile) for job_id in job_ids]
        try:
            with desk.Submitter(self.cluster, profile) as submitter:
                submitter.submit(specs)
        except OrchError as error:
            raise FailedSubmissionError(desk.message(error)) from error
        tasks = range(asked.nodes * asked.tasks_per_node)
        return [self.job_class(self.folder, job_id, tasks) for job_id in job_ids]

    def _store(self, job_id: str, delayed: DelayedSubmission, asked: Asked, *, of: int) -> None:
        """Put the function where the task finds it. Raises RuntimeError for one of `of` that is too big."""
        path = JobPaths(self.folder, job_id).submitted_pickle
        delayed.set_timeout(round((asked.timeout or 0) / 60), self.max_num_timeout)
        pickles.dump(delayed, path)
        size = path.stat().st_size
        if of * size > self.max_pickle_size_gb * GIB:
            path.unlink()
            raise RuntimeError(
                f"{of} function(s) and arguments of {size / GIB:.2f} GiB are more than max_pickle_size_gb "
                f"({self.max_pickle_size_gb:g}) allows: pass big data as files, or raise it"
            )


def _job_ids(name: str, count: int) -> list[str]:
    """New ones, which are names of runs but for the underscore before an array's index."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "submitit"
    base = f"{slug}-{uuid.uuid4().hex[:_ID_LENGTH]}"
    return [base] if count == 1 else [f"{base}_{index}" for index in range(count)]


def _spec(folder: Path, job_id: str, asked: Asked, profile: Profile) -> Spec:
    paths = JobPaths(folder, job_id)
    return Spec(
        name=run_of(job_id),
        resources=Resources(nodes=asked.nodes, gpus_per_node=asked.tasks_per_node),
        checkpoint=Checkpoint(dir=str(pickles.root_of(paths))),
        restart=Restart(max_failures=asked.max_failures),
        env={**asked.env, **_variables(folder, job_id, asked, profile)},
        code=str(Path(asked.code).absolute()) if asked.code else None,
        run=TASK,
    )


def _variables(folder: Path, job_id: str, asked: Asked, profile: Profile) -> Mapping[str, str]:
    """What the task must know, as variables of its environment; those without a value are left out."""
    seconds = _seconds(asked, profile)
    here = "" if asked.code else str(Path.cwd())
    values = {
        "SUBMITIT_EXECUTOR": OrchExecutor.name(),
        names.FOLDER: str(folder),
        names.JOB_ID: job_id,
        names.DIRECTORY: here,
        names.MODULES: os.environ.get("PYTHONPATH", "") if here else "",
        names.PYTHON: ".".join(map(str, sys.version_info[:2])),
        names.SECONDS: "" if seconds is None else f"{seconds:g}",
        names.TIMER: "1" if seconds is not None and kind_of(profile.kind).time_limit is None else "",
        names.ONE_STREAM: "1" if asked.stderr_to_stdout else "",
    }
    return {name: value for name, value in values.items() if value}


def _seconds(asked: Asked, profile: Profile) -> float | None:
    """Of an attempt until it is asked to stop because of its time limit; None where nothing limits it."""
    time_limit = kind_of(profile.kind).time_limit
    if time_limit is None:
        return asked.timeout
    limit = time_limit(profile)
    return None if limit is None else limit - min(needs.UNKNOWN_SAVE_SECONDS, limit // 2)
