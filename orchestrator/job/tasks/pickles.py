"""Where the pickles of a function job lie, and how one is written: whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from submitit.core import utils

from orchestrator.job.checkpoints import generations
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.system import atomic

SUBMITTED = "submitted.pkl"  # in a checkpoint: what goes on from there


def root_of(paths: utils.JobPaths) -> Path:
    """The checkpoint directory of the job's run."""
    return paths.folder / f"{paths.job_id}_orch"


def result_of(generation_dir: Path, rank: int) -> Path:
    """A rank's result. Generations write only below their own directories, so a late one of an older cannot count."""
    return generation_dir / "results" / f"rank-{rank}.pkl"


def newest_result(paths: utils.JobPaths) -> Path:
    """Where a rank of the newest generation leaves its result."""
    root = root_of(paths)
    return result_of(generation_dir(root, generations.newest_number(root)), paths.task_id)


def load_result(path: Path) -> tuple[str, Any]:
    """("success", value) or ("error", traceback). Raises FileNotFoundError, and what unpickling raises."""
    outcome, value = utils.pickle_load(path)
    return str(outcome), value


def dump(value: Any, path: Path) -> None:
    """Replaces `path` in one step. Raises OSError, and what pickling raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, sync=True) as temporary:
        utils.cloudpickle_dump(value, temporary)


def publish(result: Path, name: Path) -> None:
    """Gives a finished result the name that submitit knows it by, too. Raises OSError."""
    with atomic.replacing(name, sync=False) as temporary:  # the result itself is on the disk
        try:
            os.link(result, temporary)
        except OSError:  # no hard links there
            shutil.copyfile(result, temporary)
