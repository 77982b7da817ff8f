"""Judges a checkpoint that nobody committed: are all parts there that its own files speak of, and are they whole.

Known layouts: the Hugging Face Trainer's with DeepSpeed (stages 0-3) or without, and what DeepSpeed's own
save_checkpoint writes, pipeline modules included. A missing rng_state matters: a resume without it trains, silently,
something else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Iterator

from orchestrator.job.checkpoints import archives
from orchestrator.job.checkpoints.layout import files_of, latest_tag, step_of
from orchestrator.job.checkpoints.shards import read_save
from orchestrator.job.protocol.report import Problem

_RNG_STATE = re.compile(r"rng_state_(\d+)\.pth")
_HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")


def problems(directory: Path) -> tuple[Problem, ...]:
    """All that is wrong with the checkpoint in `directory`; empty: whole. Raises OSError when it can't be read."""
    if not directory.is_dir():
        return (Problem(".", "is not there"),)
    return tuple(_parts(directory)) + tuple(_frames(directory))


def _parts(directory: Path) -> Iterator[Problem]:
    trainer = (directory / "trainer_state.json").exists() or (directory / "training_args.bin").exists()
    tag = latest_tag(directory)
    world_size = None
    if tag is not None and _is_tag(directory, tag):
        save = read_save(directory / tag)
        world_size = save.world_size
        present = {entry.name for entry in (directory / tag).iterdir()}
        yield from (Problem(f"{tag}/{name}", "is missing") for name in sorted(save.names() - present))
    elif tag is not None:
        yield Problem("latest", f"names {tag!r}, and there is no such directory")
    elif any(directory.glob("global_step*")):
        yield Problem("latest", "is missing: DeepSpeed would silently start from scratch")
    elif not trainer:
        yield Problem(".", "holds neither a DeepSpeed checkpoint (`latest`) nor a Trainer's (trainer_state.json)")
    else:
        yield from _plain_trainer_problems(directory)
    if trainer:
        yield from _trainer_state_problems(directory)
        yield from _random_state_problems(directory, world_size)


def _is_tag(directory: Path, tag: str) -> bool:
    return tag not in ("", ".", "..") and "/" not in tag and (directory / tag).is_dir()


def _plain_trainer_problems(directory: Path) -> Iterator[Problem]:
    if not any((directory / name).exists() for name in _HF_WEIGHTS):
        yield Problem("model.safetensors", "is missing, and so is every other form of the weights")
    for name in ("optimizer.pt", "scheduler.pt"):
        if not (directory / name).exists() and not (directory / name.replace(".pt", ".bin")).exists():
            yield Problem(name, "is missing")


def _trainer_state_problems(directory: Path) -> Iterator[Problem]:
    path = directory / "trainer_state.json"
    try:
        state = json.loads(path.read_bytes())
    except FileNotFoundError:
        yield Problem(path.name, "is missing")
        return
    except ValueError as error:
        yield Problem(path.name, f"is not JSON: {error}")
        return
    found, wanted = state.get("global_step") if isinstance(state, dict) else None, step_of(directory)
    if not isinstance(found, int):
        yield Problem(path.name, "has no global_step")
    elif wanted is not None and directory.name.startswith("checkpoint-") and found != wanted:
        yield Problem(path.name, f"says step {found}, the directory's name says {wanted}")


def _random_state_problems(directory: Path, world_size: int | None) -> Iterator[Problem]:
    seen = [int(match.group(1)) + 1 for entry in directory.iterdir() if (match := _RNG_STATE.fullmatch(entry.name))]
    ranks = max([world_size or 1, *seen])
    names = ["rng_state.pth"] if ranks == 1 and not seen else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in names:
        if not (directory / name).exists():
            yield Problem(name, "is missing: the resumed run would draw other random numbers, silently")


def _frames(directory: Path) -> Iterator[Problem]:
    for path in files_of(directory):
        what = _frame_problem(directory, path)
        if what:
            yield Problem(path.relative_to(directory).as_posix(), what)


def _frame_problem(directory: Path, path: Path) -> str | None:
    if path.suffix in (".pt", ".pth"):
        return archives.torch_problem(path)
    if path.suffix == ".safetensors":
        return archives.safetensors_problem(path)
    if path.name.endswith(".index.json"):
        return archives.json_problem(path) or _index_problem(path)
    # trainer_state.json has its own, fuller check.
    return archives.json_problem(path) if path.name == "config.json" and path.parent == directory else None


def _index_problem(path: Path) -> str | None:
    index = json.loads(path.read_bytes())
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        return "has no weight_map"
    missing = sorted({name for name in shards.values() if not (path.parent / str(name)).exists()})
    return f"names {', '.join(missing)}: not there" if missing else None
