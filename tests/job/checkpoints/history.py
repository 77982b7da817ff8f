"""Steps of a run's history, taken by the real functions: claims, saves, commits and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.job.checkpoints import claiming, manifest
from orchestrator.job.protocol.files import MANUAL_COMMITS, checkpoints_dir, generation_dir
from orchestrator.job.protocol.records import Claim
from orchestrator.job.system.atomic import write_json

FILES = {"latest": "global_step", "global_step/shard-0.pt": "zero", "global_step/shard-1.pt": "one"}


def request(**changes: Any) -> claiming.Request:
    values = {
        "run": "toy",
        "run_id": "0123456789ab",
        "attempt": 1,
        "start": "start-1",
        "nodes": 2,
        "address": "127.0.0.1",
        "port": 29500,
        "max_failures": 5,
    }
    return claiming.Request(**{**values, **changes})


def claim(root: Path, *, manual: bool = True, **changes: Any) -> Claim:
    """The next generation, in which checkpoints are proven by a commit unless `manual` is False."""
    made = claiming.claim(root, request(**changes))
    if manual:
        (generation_dir(root, made.generation) / MANUAL_COMMITS).touch()
    return made


def save(root: Path, generation: int, step: int) -> Path:
    """All files of a checkpoint, not committed."""
    directory = checkpoints_dir(root, generation) / f"checkpoint-{step}"
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content} of step {step} of generation {generation}")
    return directory


def commit(root: Path, generation: int, step: int) -> Path:
    """A proven checkpoint."""
    directory = save(root, generation, step)
    manifest.write_commit(
        directory,
        step=step,
        generation=generation,
        attempt=1,
        run_id="0123456789ab",
        world_size=2,
        files=manifest.hash_files(directory, FILES),
    )
    return directory


def end(root: Path, generation: int, result: str = "failed", **values: Any) -> None:
    """The outcome of a generation, as its agent would leave it."""
    outcome = {"result": result, "cause": "unknown", "because": "", "retry": True, "step": None, **values}
    write_json(generation_dir(root, generation) / "outcome.json", outcome)


def sealed_steps(made: Claim) -> list[int]:
    return [entry.step for entry in made.sealed]
