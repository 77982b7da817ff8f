"""What all ranks saved becomes a proven checkpoint: everything on disk, hashed by who wrote it, then one manifest."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Optional, Union

from orchestrator.job.checkpoints import generations, manifest, retention
from orchestrator.job.protocol.records import FileSum
from orchestrator.job.training.control import Control
from orchestrator.job.training.environment import Environment, TrainingError
from orchestrator.job.training.shares import deal, list_files


def commit(
    control: Control, environment: Environment, directory: str, step: int, *, spared: Optional[str] = None
) -> None:
    """Commits `directory` as the checkpoint of `step` and prunes older ones, but `spared`, a path.

    All ranks call it after their own save.

    Raises TrainingError, on all ranks, when a newer generation has taken over or a file cannot be read back.
    """
    _stop_if_fenced(control, environment)
    files, problem = _prove(control, directory)
    if control.rank == 0 and problem is None:
        problem = _publish(environment, directory, step, files, spared)
    problem = control.share(problem)
    if problem is not None:
        raise TrainingError(problem)


def _stop_if_fenced(control: Control, environment: Environment) -> None:
    """Saves time only: the newer claim decides what counts."""
    claim = generations.newest_claim(environment.root) if control.rank == 0 else None
    newest = control.share(claim.generation if claim is not None else 0)
    if newest > environment.generation:
        raise TrainingError(
            f"Generation {newest} of run {environment.run} has taken over from generation {environment.generation}, "
            "which this process belongs to. Nothing that it saves from now on counts."
        )


def _prove(control: Control, directory: str) -> tuple[dict[str, FileSum], Optional[str]]:
    """Syncs and hashes every file; on rank 0 the manifest's entries, and on failure a sentence."""
    control.barrier()  # every rank has written
    names = control.share(list_files(directory) if control.rank == 0 else None)
    mine: Union[dict[str, FileSum], str]
    try:
        mine = manifest.hash_files(directory, deal(names, control.world_size)[control.rank])
    except OSError as error:
        mine = f"Rank {control.rank} cannot read back what was saved in {directory}: {error}"
    files: dict[str, FileSum] = {}
    for part in control.gather(mine):
        if isinstance(part, str):
            return {}, part
        files.update(part)
    return files, None


def _publish(
    environment: Environment, directory: str, step: int, files: Mapping[str, FileSum], spared: Optional[str]
) -> Optional[str]:
    """On rank 0: the manifest, then pruning. A sentence when there is no manifest."""
    try:
        manifest.write_commit(
            directory,
            step=step,
            generation=environment.generation,
            attempt=environment.attempt,
            run_id=environment.run_id,
            world_size=environment.world_size,
            files=files,
        )
    except OSError as error:
        return f"The checkpoint of step {step} in {directory} cannot be committed: {error}"
    try:
        retention.prune(environment.root, environment.generation, environment.job.keep, spared=spared)
    except OSError as error:
        # The new checkpoint counts; training goes on with one old checkpoint too many.
        print(f"warning: old checkpoints cannot be pruned: {error}", file=sys.stderr, flush=True)
    return None
