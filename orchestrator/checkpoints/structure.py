"""Judges a checkpoint that nobody committed: has it all the parts that its own files say it must have, and are they whole?

Known layouts: the Hugging Face Trainer's with DeepSpeed (stages 0-3) or without, and what DeepSpeed's own
save_checkpoint writes, pipeline modules included. A missing rng_state matters: a resume without it trains, silently,
something else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from orchestrator.checkpoints import archives
from orchestrator.checkpoints.layout import files_of, latest_tag, step_of


@dataclass(frozen=True)
class Problem:
    """What is wrong with a checkpoint; `file` is relative to it, "." for the checkpoint itself."""

    file: str
    what: str


_MODEL_STATES = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_ZERO_MODEL_STATES = re.compile(r"zero_pp_rank_(\d+)_mp_rank_(\d+)_model_states\.pt")
_OPTIMIZER_STATES = re.compile(r"((?:bf16_|fp16_)?)zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_LAYER = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
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
    if tag is not None:
        yield from _tag_problems(directory, tag)
        world_size = _Shards(directory / tag).world_size if tag and (directory / tag).is_dir() else None
    elif any(directory.glob("global_step*")):
        yield Problem("latest", "is missing: DeepSpeed would start from scratch without a word")
    elif not trainer:
        yield Problem(".", "holds neither a DeepSpeed checkpoint (`latest`) nor a Trainer's (trainer_state.json)")
    else:
        yield from _plain_trainer_problems(directory)
    if trainer:
        yield from _trainer_state_problems(directory)
        yield from _random_state_problems(directory, world_size)


def _tag_problems(directory: Path, tag: str) -> Iterator[Problem]:
    shards = directory / tag
    if not tag or shards.parent != directory or not shards.is_dir():
        yield Problem("latest", f"names {tag!r}, and there is no such directory")
        return
    for name in _Shards(shards).missing():
        yield Problem(f"{tag}/{name}", "is missing")


class _Shards:
    """What a tag's directory holds, and what its own model states say it must hold."""

    def __init__(self, directory: Path) -> None:
        self.names = {entry.name for entry in directory.iterdir() if entry.is_file()}
        self.optimizer = [match for name in self.names if (match := _OPTIMIZER_STATES.fullmatch(name))]
        self.model = [match for name in self.names if (match := _MODEL_STATES.fullmatch(name))]
        self.zero_model = [match for name in self.names if (match := _ZERO_MODEL_STATES.fullmatch(name))]
        first = next(
            (
                directory / name
                for name in sorted(self.names)
                if name.endswith("model_states.pt") and not name.startswith("layer_")
            ),
            None,
        )
        said = archives.plain_values(first) if first is not None else {}
        self.data_parallel = _count(
            said.get("dp_world_size"),
            (match.group(2) for match in self.optimizer),
            (match.group(1) for match in self.zero_model),
        )
        self.model_parallel = _count(
            said.get("mp_world_size"),
            (match.group(3) for match in self.optimizer),
            (match.group(1) for match in self.model),
            (match.group(2) for match in self.zero_model),
        )
        self.stage = _stage(said, zero_model=bool(self.zero_model), optimizer=bool(self.optimizer))
        self.layers = {match.group(1): match.group(2) for name in self.names if (match := _LAYER.fullmatch(name))}

    @property
    def world_size(self) -> int:
        return self.data_parallel * self.model_parallel

    def missing(self) -> list[str]:
        """Names of the files that must be here and are not, in order."""
        return sorted(set(self._wanted()) - self.names)

    def _wanted(self) -> Iterator[str]:
        prefix = self.optimizer[0].group(1) if self.optimizer else ""
        for model in range(self.model_parallel):
            if self.stage < 3:
                yield f"mp_rank_{model:02d}_model_states.pt"
            for data in range(self.data_parallel):
                stem = f"zero_pp_rank_{data}_mp_rank_{model:02d}"
                if self.stage == 3:
                    yield f"{stem}_model_states.pt"
                if self.stage > 0:
                    yield f"{prefix}{stem}_optim_states.pt"


def _count(said: Any, *ranks: Iterator[str]) -> int:
    """The size that a checkpoint says of itself, never less than what its highest rank shows."""
    seen = [int(rank) + 1 for group in ranks for rank in group]
    return max([said if isinstance(said, int) and said > 0 else 1, *seen])


def _stage(said: dict[str, Any], *, zero_model: bool, optimizer: bool) -> int:
    config = said.get("ds_config")
    section = config.get("zero_optimization") if isinstance(config, dict) else None
    stage = section.get("stage") if isinstance(section, dict) else None
    if isinstance(stage, int) and not isinstance(stage, bool):
        return stage
    return 3 if zero_model else 2 if optimizer else 0


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
