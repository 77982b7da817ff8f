"""What every kind of cluster with a shared directory needs to hand an attempt over: its files, its start's name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import ClusterError
from orchestrator.job.protocol.files import attempt_dir
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.operations.attempts import Upload, Uploaded, UploadFile
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission


def start_id(submission: Submission) -> str:
    """Names the start of an attempt: the same for all its agents and for everybody who submits it.

    The run's directory is part of it, for the same job may run below two ORCH_HOMEs.
    """
    place = hashlib.sha256(submission.dir.encode()).hexdigest()[:8]
    return f"{submission.run_id}-{place}-{submission.attempt}"


def place_of(submission: Submission) -> Path:
    """The directory of an attempt."""
    return attempt_dir(submission.dir, submission.attempt)


def upload_of(submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> Upload:
    """The operation that writes an attempt's files. `secrets`: those that are to be read from a file there."""
    files = tuple(UploadFile(file.path, file.executable, file.content) for file in bundle.files)
    return Upload(submission.dir, submission.attempt, submission.run, submission.run_id, files, dict(secrets))


def refuse_other_run(uploaded: Uploaded) -> None:
    """Raises ClusterError where the run's directory is another run's, from a store that is lost."""
    if uploaded.refused:
        raise ClusterError(uploaded.refused, hint="move that directory away, or give this run another name")


def secret_environment(job: JobFile, secrets: Mapping[str, str]) -> dict[str, str]:
    """Secrets of kind env, under the names by which the agent looks for them: they go into no file."""
    return {job.secrets[name].env or name: value for name, value in secrets.items()}


def start_arguments(submission: Submission) -> list[str]:
    """What an agent is told of where to start from."""
    arguments = [] if submission.from_step is None else ["--from-step", str(submission.from_step)]
    return [*arguments, "--from-scratch"] if submission.from_scratch else arguments
