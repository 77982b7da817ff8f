"""`orch rm`: a run that has ended is removed: its files where its cluster keeps them, those here, then its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.clusters import Backend
from orchestrator.errors import ClusterError, JobError
from orchestrator.job.protocol.operations.runs import Removed, RemoveRun
from orchestrator.job.remote import runs
from orchestrator.job.system import failpoints
from orchestrator.model.run import Run
from orchestrator.policy.attempts import submission_of
from orchestrator.store import Store

SECONDS = 3600.0  # that the removal of many large files may take


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedRun:
    """`left`: where files of it are still; "" where none are."""

    name: str
    left: str


def remove_run(
    store: Store, name: str, open_backend: Callable[[Run], Backend], *, checkpoints: bool, keep_files: bool
) -> RemovedRun:
    """Remove a run that has ended; its checkpoints only with `checkpoints`, with `keep_files` none of its files.

    Its record goes last, so that a removal that was cut short, or whose cluster did not answer, is repeated. Raises
    JobError for a run that has not ended, ClusterError and Unreachable where its cluster refuses or does not answer.
    """
    run = store.get(name)
    if not run.phase.ended:
        raise JobError(
            f"the run {name} has not ended: it is {run.phase.value}", hint=f"orch cancel {name}, then: orch wait {name}"
        )
    backend = None if keep_files else open_backend(run)
    store.begin_removal(name)
    failpoints.failpoint("remove.begun")
    left = run.dir if backend is None else _remove_there(backend, run, checkpoints=checkpoints)
    failpoints.failpoint("remove.there")
    here = store.home / "runs" / name
    if backend is not None or here != Path(run.dir):
        runs.clear(here, but=Path(run.checkpoint_dir))
    failpoints.failpoint("remove.here")
    store.remove(name)
    return RemovedRun(name=name, left=left)


def _remove_there(backend: Backend, run: Run, *, checkpoints: bool) -> str:
    """End what may be left of the last attempt, then delete the files; what stays."""
    request = RemoveRun(run.name, run.run_id, run.dir, run.checkpoint_dir, checkpoints)
    _perform(backend, replace(request, dry=True))  # else an attempt of another run might be cancelled
    backend.cancel(submission_of(run), now=True)
    return _perform(backend, request).left


def _perform(backend: Backend, request: RemoveRun) -> Removed:
    (removed,) = backend.read([request], seconds=SECONDS)
    if removed.refused:
        hint = f"to forget the run and leave all files: orch rm --keep-files {request.run}"
        raise ClusterError(removed.refused, hint=hint)
    return removed
