"""Judges a checkpoint that nobody committed: are all parts there that its own files speak of, and are they whole.

What `discover` knows is judged: the Hugging Face Trainer's with DeepSpeed (stages 0-3), FSDP or neither, a tag of
DeepSpeed's own save_checkpoint, pipeline modules included, and what accelerate, Lightning, torch.distributed.checkpoint
and torch.save write. A missing random state matters: a resume without it trains, silently, something else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Callable, Iterator, Mapping

from orchestrator.job.checkpoints import archives, discover
from orchestrator.job.checkpoints.discover import Kind
from orchestrator.job.checkpoints.layout import files_of, latest_tag, step_of
from orchestrator.job.checkpoints.shards import read_save
from orchestrator.job.protocol.report import Problem

_TORCH = frozenset({".pt", ".pth", ".ckpt", ".bin"})
_RNG_STATE = re.compile(r"rng_state_(\d+)\.pth")
_RANDOM_STATE = re.compile(r"random_states_(\d+)\.pkl")
_SHARDED = re.compile(r"(pytorch_model_fsdp|optimizer)_\d+")  # directories of torch.distributed.checkpoint: FSDP
_HF_WEIGHTS = re.compile(
    r"((adapter_)?model|pytorch_model)([-_]\d+)?\.(safetensors|bin)(\.index\.json)?|pytorch_model_fsdp(_\d+|\.bin)"
)


def problems(unit: Path) -> tuple[Problem, ...]:
    """All that is wrong with the checkpoint `unit`, a directory or a file; empty: whole.

    Raises OSError when it can't be read.
    """
    if not unit.exists():
        return (Problem(".", "is not there"),)
    if not unit.is_dir():
        what = _frame_problem(unit.parent, unit) or (None if unit.stat().st_size else "is empty")
        return (Problem(".", what),) if what else ()
    judge = _JUDGES.get(discover.kind_of(unit) or Kind.TRAINER, _nothing)
    return tuple(judge(unit)) + tuple(_frames(unit))


def _trainer(directory: Path) -> Iterator[Problem]:
    trainer = (directory / "trainer_state.json").exists() or (directory / "training_args.bin").exists()
    tag = latest_tag(directory)
    world_size = None
    if tag is not None and _is_tag(directory, tag):
        world_size = read_save(directory / tag).world_size
        yield from _tag(directory / tag, f"{tag}/")
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


def _tag(directory: Path, prefix: str = "") -> Iterator[Problem]:
    """Files of ranks beyond the save's own world size are those of an older, larger one: no damage."""
    present = {entry.name for entry in directory.iterdir()}
    yield from (Problem(f"{prefix}{name}", "is missing") for name in sorted(read_save(directory).names() - present))


def _universal(directory: Path) -> Iterator[Problem]:
    parameters = [entry for entry in (directory / "zero").iterdir() if entry.is_dir()] if _has_zero(directory) else []
    if not parameters:
        yield Problem("zero", "holds no parameter: the conversion was not finished")
    for entry in parameters:
        if not (entry / "fp32.pt").exists():
            yield Problem(f"zero/{entry.name}/fp32.pt", "is missing")
    if not any(directory.glob("*model_states.pt")):
        yield Problem("mp_rank_00_model_states.pt", "is missing")


def _has_zero(directory: Path) -> bool:
    return (directory / "zero").is_dir()


def _accelerate(directory: Path) -> Iterator[Problem]:
    """`save_state` writes the random states last, each rank its own."""
    names = {entry.name for entry in directory.iterdir()}
    ranks = {int(match.group(1)) for match in map(_RANDOM_STATE.fullmatch, names) if match}
    wanted, tag = max(ranks, default=0) + 1, latest_tag(directory)
    if tag is not None and not _is_tag(directory, tag):
        yield Problem("latest", f"names {tag!r}, and there is no such directory")
    elif tag is not None:
        wanted = max(wanted, read_save(directory / tag).world_size)
        yield from _tag(directory / tag, f"{tag}/")
    elif "pytorch_model" in names:
        yield Problem("latest", "is missing: DeepSpeed would silently start from scratch")
    else:
        if not any(map(_HF_WEIGHTS.fullmatch, names)):
            yield Problem("model.safetensors", "is missing, and so is every other form of the weights")
        if not any(name.startswith("optimizer") for name in names):
            yield Problem("optimizer.bin", "is missing")
    for rank in sorted(set(range(wanted)) - ranks):
        yield Problem(f"random_states_{rank}.pkl", "is missing: the save was not finished")
    yield from _sharded(directory, names)


def _lightning(directory: Path) -> Iterator[Problem]:
    """A strategy that shards makes a directory: of DeepSpeed, or of torch.distributed.checkpoint."""
    tag = latest_tag(directory)
    if tag is not None and _is_tag(directory, tag):
        yield from _tag(directory / tag, f"{tag}/")
    elif tag is not None or (directory / "checkpoint").is_dir():
        yield Problem("latest", "names no directory of it: the save was not finished")
    else:
        yield from _dcp(directory)


def _dcp(directory: Path, prefix: str = "") -> Iterator[Problem]:
    """`.metadata` is written last; it names every file, and how far the tensors in it reach."""
    metadata = directory / ".metadata"
    if not metadata.exists():
        yield Problem(f"{prefix}.metadata", "is missing: the save was not finished")
        return
    extents = archives.storage_extents(metadata)
    if extents is None:
        yield Problem(f"{prefix}.metadata", "cannot be read")
        return
    for name, extent in sorted(extents.items()):
        path = directory / name
        size = path.stat().st_size if path.exists() else None
        if size is None:
            yield Problem(f"{prefix}{name}", "is missing")
        elif size < extent:
            yield Problem(f"{prefix}{name}", f"is {size} bytes long, .metadata says at least {extent}")


def _sharded(directory: Path, names: set[str]) -> Iterator[Problem]:
    for name in sorted(name for name in names if _SHARDED.fullmatch(name) and (directory / name).is_dir()):
        yield from _dcp(directory / name, f"{name}/")


def _nothing(directory: Path) -> Iterator[Problem]:
    """Of a layout of the script's own only the files can be judged."""
    if not any(path.is_file() for path in directory.rglob("*")):
        yield Problem(".", "holds no file")


_JUDGES: Mapping[Kind, Callable[[Path], Iterator[Problem]]] = {
    Kind.TRAINER: _trainer,
    Kind.DEEPSPEED: _tag,
    Kind.UNIVERSAL: _universal,
    Kind.ACCELERATE: _accelerate,
    Kind.LIGHTNING: _lightning,
    Kind.DCP: _dcp,
}


def _is_tag(directory: Path, tag: str) -> bool:
    return tag not in ("", ".", "..") and "/" not in tag and (directory / tag).is_dir()


def _plain_trainer_problems(directory: Path) -> Iterator[Problem]:
    names = {entry.name for entry in directory.iterdir()}
    if not any(map(_HF_WEIGHTS.fullmatch, names)):
        yield Problem("model.safetensors", "is missing, and so is every other form of the weights")
    for name in ("optimizer", "scheduler"):
        if names.isdisjoint({f"{name}.pt", f"{name}.bin", f"{name}_0"}):
            yield Problem(f"{name}.pt", "is missing")
    yield from _sharded(directory, names)


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
    if path.suffix in _TORCH or (path.suffix == ".pkl" and _RANDOM_STATE.fullmatch(path.name)):
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
