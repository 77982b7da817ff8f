"""submitit's Job on a run of orch: its state is the run's, its results are those of the generation that ended it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from submitit.core import core
from submitit.core.utils import FailedJobError, UncompletedJobError

from orchestrator.job.tasks import pickles
from orchestrator.submitit import desk
from orchestrator.views.table import Row

R_co = TypeVar("R_co", covariant=True)

POLL_SECONDS = 0.25  # between two reads of the store

# Slurm's states, which submitit's helpers know.
_STATES: Mapping[str, str] = {
    "pending": "PENDING", "queued": "PENDING", "starting": "RUNNING", "running": "RUNNING", "stopping": "COMPLETING",
    "succeeded": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED", "stopped": "STOPPED",
}  # fmt: skip
_FAILED: Mapping[str, str] = {"time_limit": "TIMEOUT", "cuda_oom": "OUT_OF_MEMORY", "host_oom": "OUT_OF_MEMORY"}


def run_of(job_id: str) -> str:
    """The name of a job's run: `_`, which submitit puts before an array's index, is in no run's name."""
    return job_id.replace("_", "-")


def state_of(snapshot: Row) -> str:
    """A run's state as Slurm names it."""
    phase = snapshot["phase"]
    if phase == "failed":
        return _FAILED.get(snapshot["cause"], "FAILED")
    if phase == "pending" and snapshot["attempt"] > 1:
        return "REQUEUED"
    return _STATES.get(phase, "UNKNOWN")


class Watcher(core.InfoWatcher):
    """Reads the store for all jobs that this process waits for at once. Clusters are asked by the controller alone."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.home = home
        self._keeper = desk.Keeper(home)
        self._snapshots: dict[str, Row] = {}

    def update_if_long_enough(self, mode: str) -> None:
        wait = 0.0 if mode == "force" else POLL_SECONDS
        if mode != "cache" and time.time() - self._last_status_check >= wait:
            self.update()

    def update(self) -> None:
        """Raises JobError when the store knows no such run."""
        waiting = sorted(self._registered - self._finished)
        if not waiting:
            return
        self._num_calls += 1
        found = desk.snapshots(self.home, [run_of(job_id) for job_id in waiting])
        for job_id in waiting:
            snapshot = found[run_of(job_id)]
            self._snapshots[job_id] = snapshot
            shown = {key: str(snapshot[key]) for key in ("name", "phase", "cause", "because", "attempt", "generation")}
            self._info_dict[job_id] = {"JobID": job_id, "State": state_of(snapshot), **shown}
            if snapshot["phase"] in desk.ENDED:
                self._finished.add(job_id)
        self._last_status_check = time.time()
        if self._registered - self._finished:
            self._keeper.check()

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return self.get_info(job_id, mode=mode).get("State", "UNKNOWN")

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        self.get_info(job_id, mode=mode)
        return job_id in self._finished

    def snapshot(self, job_id: str) -> Row:
        """The last snapshot. Raises JobError if the store has no such run."""
        if job_id not in self._snapshots:
            self.get_info(job_id, mode="force")
        return self._snapshots[job_id]


_WATCHERS: dict[Path, Watcher] = {}


def _watcher(home: Path) -> Watcher:
    return _WATCHERS.setdefault(home, Watcher(home))


class OrchJob(core.Job[R_co]):
    """One submitted function. Made by an executor, or again from `folder` and `job_id` in another process."""

    def __init__(self, folder: Path | str, job_id: str, tasks: Sequence[int] = (0,)) -> None:
        self.watcher = self._watch = _watcher(desk.home())
        super().__init__(folder, job_id, tasks)

    def done(self, force_check: bool = False) -> bool:  # noqa: FBT001, FBT002 - submitit's own signature
        """Whether the run has ended, by its phase: there may be a result of a start that did not end it."""
        return self.watcher.is_done(self.job_id, mode="force" if force_check else "standard")

    def wait(self) -> None:
        while not self.done():
            time.sleep(POLL_SECONDS)

    def result(self) -> R_co:
        """What the function returned; of several tasks, that of rank 0."""
        return self.results()[0]

    def results(self) -> list[R_co]:
        """What the function returned in every task, by rank. Raises as `exception` says."""
        error = self.exception()
        if error is not None:
            raise error
        jobs: Sequence[core.Job[R_co]] = self._sub_jobs or [self]
        return [job._get_outcome_and_result()[1] for job in jobs]  # noqa: SLF001 - they are of this class

    def exception(self) -> UncompletedJobError | FailedJobError | None:
        """Waits, and returns what went wrong: of the first task that raised an error, else that was ended."""
        if not self._sub_jobs:
            return super().exception()
        found = [error for error in (job.exception() for job in self._sub_jobs) if error is not None]
        raised = (error for error in found if isinstance(error, FailedJobError))
        return next(raised, found[0] if found else None)

    def cancel(self, check: bool = True) -> None:  # noqa: FBT001, FBT002 - submitit's own signature
        """As `orch cancel`: a Checkpointable is stored first, and `orch resume` would go on with it."""
        desk.cancel(self._watch.home, run_of(self.job_id))

    def _get_outcome_and_result(self) -> tuple[str, Any]:
        """Raises UncompletedJobError when the run has ended without a result of this task."""
        snapshot = self._watch.snapshot(self.job_id)
        patience = self._results_timeout_s if snapshot["phase"] == "succeeded" else 0
        end = time.monotonic() + patience
        while True:
            try:
                return pickles.load_result(pickles.newest_result(self.paths))
            except FileNotFoundError:
                if time.monotonic() >= end:
                    raise UncompletedJobError(self._why_no_result(snapshot)) from None
            time.sleep(POLL_SECONDS)

    def _why_no_result(self, snapshot: Row) -> str:
        error = snapshot["first_error"] or {}
        trace, log = error.get("traceback"), self.stderr()
        return "\n".join(
            [
                f"Job {self.job_id} (task: {self.task_id}) has not produced any output (state: {self.state})",
                *([f"The run {snapshot['name']}: {snapshot['because']}"] if snapshot["because"] else []),
                *(["The first error:", "-" * 40, trace] if trace else []),
                *(["Error stream produced:", "-" * 40, log] if log else []),
                f"All that happened: orch events {snapshot['name']}; orch logs {snapshot['name']}",
            ]
        )

    def __getstate__(self) -> dict[str, object]:
        values = {key: value for key, value in self.__dict__.items() if key not in {"watcher", "_watch"}}
        return {**values, "home": self._watch.home}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = dict(state)
        self.watcher = self._watch = _watcher(values.pop("home"))
        super().__setstate__(values)
