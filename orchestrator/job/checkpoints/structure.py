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
from orchestrator.job.checkpoints.discover import Kind, latest_tag
from orchestrator.job.checkpoints.layout import files_of, step_of
from orchestrator.job.checkpoints.shards import Save, read_save
from orchestrator.job.protocol.report import Problem

_TORCH = frozenset({".pt", ".pth", ".ckpt"})
_TORCH_BIN = re.compile(r"(pytorch_model|adapter_model|optimizer|scheduler|sampler|training_args|dl_state_dict).*\.bin")
_ZIPS = frozenset({".zip", ".npz"})
_PERHAPS_TORCH = frozenset({".bin", ".tar", ".pkl"})
_NEVER_EMPTY = frozenset({*_TORCH, *_ZIPS, *_PERHAPS_TORCH, ".npy", ".h5", ".msgpack", ".json", ".distcp"})
_CUSTOM = re.compile(r"custom_checkpoint_\d+\.pkl")
_MEGATRON_RANK = re.compile(r"mp_rank_(\d+)(_\d+)*")
_DISTCP = re.compile(r"__(\d+)_\d+\.distcp")
_METADATA = re.compile(r"(__\d+)?\.metadata")
_LIGHTNING_NAME = re.compile(r"(epoch|step)=.*|last(-v\d+)?\.ckpt")
_WEIGHTS_OF_A_RANK = re.compile(r"(pytorch_model_fsdp(?:_\d+)?_rank|optimizer(?:_\d+)?_rank)(\d+)\.bin")
_NUMBERED = re.compile(r"(model|pytorch_model|optimizer|scheduler|sampler|custom_checkpoint)(?:_(\d+))?(\.\w+)")
_RNG_STATE = re.compile(r"rng_state_(\d+)\.pth")
_RANDOM_STATE = re.compile(r"random_states_(\d+)\.pkl")
_SHARDED = re.compile(r"(pytorch_model_fsdp|optimizer)_\d+")  # directories of torch.distributed.checkpoint: FSDP
_HF_WEIGHTS = re.compile(
    r"((adapter_)?model|pytorch_model)([-_]\d+)?\.(safetensors|bin)(\.index\.json)?|pytorch_model_fsdp(_\d+)?(_rank\d+)?(\.bin)?"
)
_CONFIGS = frozenset(
    f"{name}config.json" for name in ("", "adapter_", "generation_", "tokenizer_")
)  # a model is made of
_SHARD = re.compile(r"(.+)-\d+-of-\d+(\.\w+)")


def problems(unit: Path) -> tuple[Problem, ...]:
    """All that is wrong with the checkpoint `unit`, a directory or a file; empty: whole.

    Raises OSError when it can't be read.
    """
    if not unit.exists():
        return (Problem(".", "is not there"),)
    if not unit.is_dir():
        what = _frame_problem(unit) or (None if unit.stat().st_size else "is empty")
        return (Problem(unit.name, what),) if what else ()
    judge = _JUDGES.get(discover.kind_of(unit) or Kind.TRAINER, _nothing)
    found = {problem.file: problem for problem in judge(unit)}
    return (*found.values(), *(problem for problem in _frames(unit) if problem.file not in found))


def _trainer(directory: Path) -> Iterator[Problem]:
    trainer = (directory / "trainer_state.json").exists() or (directory / "training_args.bin").exists()
    world_size = None
    if discover.holds_tags(directory):
        tag = latest_tag(directory)
        if tag is not None and _is_tag(directory, tag):
            world_size = read_save(directory / tag).world_size
        yield from _folder(directory)
    elif not trainer:
        yield Problem(".", "holds neither a DeepSpeed checkpoint (`latest`) nor a Trainer's (trainer_state.json)")
    else:
        world_size = archives.world_size(directory / "training_args.bin")
        yield from _plain_trainer_problems(directory)
    if trainer:
        yield from _trainer_state_problems(directory)
        yield from _random_state_problems(directory, world_size)


def _deepspeed(directory: Path) -> Iterator[Problem]:
    return _folder(directory) if discover.holds_tags(directory) else _tag(directory)


def _folder(directory: Path) -> Iterator[Problem]:
    """A directory that DeepSpeed saved into: `latest` names the tag that counts."""
    tag = latest_tag(directory)
    if tag is None:
        yield Problem("latest", "is missing: DeepSpeed would silently start from scratch")
    elif _is_tag(directory, tag):
        yield from _tag(directory / tag, f"{tag}/")
    else:
        yield Problem("latest", f"names {tag!r}, and there is no such directory")


def _tag(directory: Path, prefix: str = "") -> Iterator[Problem]:
    """Files of ranks beyond the save's own world size are those of an older, larger one: no damage."""
    present = {entry.name for entry in directory.iterdir()}
    yield from (Problem(f"{prefix}{name}", "is missing") for name in sorted(read_save(directory).names() - present))


def _universal(directory: Path) -> Iterator[Problem]:
    parameters = [entry for entry in (directory / "zero").iterdir() if entry.is_dir()] if _has_zero(directory) else []
    if not parameters:
        yield Problem("zero", "holds no parameter: the conversion was not finished")
    states = {entry.name: {path.name for path in entry.iterdir()} for entry in parameters}
    for name, names in sorted(states.items()):
        # An optimizer keeps of each parameter what it keeps of the others; two in one training need not.
        others = [other for one, other in states.items() if one != name]
        wanted = set.intersection(*others) if others else set()
        for missing in sorted(({"fp32.pt"} | wanted) - names):
            yield Problem(f"zero/{name}/{missing}", "is missing")
    if not any(directory.glob("*model_states.pt")):
        yield Problem("mp_rank_00_model_states.pt", "is missing")


def _has_zero(directory: Path) -> bool:
    return (directory / "zero").is_dir()


def _accelerate(directory: Path) -> Iterator[Problem]:
    """`save_state` writes the random states last, each rank its own."""
    names = {entry.name for entry in directory.iterdir()}
    ranks = {int(match.group(1)) for match in map(_RANDOM_STATE.fullmatch, names) if match}
    wanted, tag = max(ranks, default=0) + 1, latest_tag(directory)
    if tag is not None or "pytorch_model" in names:
        if tag is not None and _is_tag(directory, tag):
            wanted = read_save(directory / tag).world_size
        yield from _folder(directory)
    else:
        wanted = max(wanted, _shard_writers(directory))
        yield from _weights_problems(directory, names)
        if not any(name.startswith("optimizer") for name in names):
            yield Problem("optimizer.bin", "is missing")
    yield from _numbered(names)
    for rank in sorted(set(range(wanted)) - ranks):
        yield Problem(f"random_states_{rank}.pkl", "is missing: the save was not finished")
    yield from _sharded(directory, names)


def _shard_writers(directory: Path) -> int:
    """At least so many ranks have saved, as the shards of FSDP show; others may have had nothing to write."""
    matches = (_DISTCP.fullmatch(path.name) for path in directory.glob("*/*.distcp"))
    return max((int(match.group(1)) + 1 for match in matches if match), default=1)


def _numbered(names: set[str]) -> Iterator[Problem]:
    """Of several models, optimizers and the like the first has no number, the others are counted without a hole."""
    highest: dict[tuple[str, str], int] = {}
    for match in filter(None, map(_NUMBERED.fullmatch, names)):
        key = match.group(1), match.group(3)
        highest[key] = max(highest.get(key, 0), int(match.group(2) or 0))
    for (stem, suffix), last in sorted(highest.items()):
        first = f"{stem}_0" if stem == "custom_checkpoint" else stem
        for name in [f"{first}{suffix}", *(f"{stem}_{number}{suffix}" for number in range(1, last))]:
            if name not in names:
                yield Problem(name, f"is missing: there is {stem}_{last}{suffix}")


def _lightning(directory: Path) -> Iterator[Problem]:
    """A strategy that shards makes a directory: of DeepSpeed, or of torch.distributed.checkpoint."""
    if (directory / "latest").exists() or (directory / "checkpoint").is_dir():
        yield from _folder(directory)
        return
    yield from _dcp(directory)
    if _LIGHTNING_NAME.fullmatch(directory.name) and not (directory / "meta.pt").exists():
        yield Problem("meta.pt", "is missing: the save was not finished")


def _dcp(directory: Path, prefix: str = "") -> Iterator[Problem]:
    """`.metadata` is written last; it names every file, and how far the tensors in it reach.

    Where ranks save without asking each other, each has one of its own.
    """
    names = {entry.name for entry in directory.iterdir()}
    found = sorted(filter(_METADATA.fullmatch, names))
    ranks = {int(match.group(1)) for match in map(_DISTCP.fullmatch, names) if match}
    own = {f"__{rank}.metadata" for rank in ranks} if found and ".metadata" not in found else {".metadata"}
    for name in sorted(own - names):
        yield Problem(f"{prefix}{name}", "is missing: the save was not finished")
    for name in found:
        yield from _stored(directory, name, prefix)


def _stored(directory: Path, metadata: str, prefix: str) -> Iterator[Problem]:
    stored = archives.storage_entries(directory / metadata)
    if stored is None:
        yield Problem(f"{prefix}{metadata}", "cannot be read")
        return
    for name, entries in sorted(stored.items()):
        path, extent = directory / name, max(offset + length for offset, length in entries)
        size = path.stat().st_size if path.exists() else None
        if size is None:
            yield Problem(f"{prefix}{name}", "is missing")
        elif size < extent:
            yield Problem(f"{prefix}{name}", f"is {size} bytes long, {metadata} says at least {extent}")
        elif (offset := archives.hole(path, entries)) is not None:
            yield Problem(f"{prefix}{name}", f"has zeros at byte {offset}, where {metadata} says that an entry begins")


def _sharded(directory: Path, names: set[str]) -> Iterator[Problem]:
    for name in sorted(name for name in names if _SHARDED.fullmatch(name) and (directory / name).is_dir()):
        yield from _dcp(directory / name, f"{name}/")
    ranked: dict[str, set[int]] = {}
    for match in filter(None, map(_WEIGHTS_OF_A_RANK.fullmatch, names)):
        ranked.setdefault(match.group(1), set()).add(int(match.group(2)))
    wanted = range(1 + max((max(ranks) for ranks in ranked.values()), default=-1))
    for stem, ranks in sorted(ranked.items()):
        for rank in sorted(set(wanted) - ranks):
            yield Problem(f"{stem}{rank}.bin", "is missing")


def _nothing(directory: Path) -> Iterator[Problem]:
    """Of a layout of the script's own only the files can be judged."""
    if not files_of(directory):
        yield Problem(".", "holds no file")
    ranks = [entry for entry in directory.iterdir() if _MEGATRON_RANK.fullmatch(entry.name)]
    numbers = {int(entry.name.split("_")[2]) for entry in ranks}
    for number in sorted(set(range(max(numbers, default=0))) - numbers):
        yield Problem(f"mp_rank_{number:02d}", "is missing")
    for entry in ranks:
        if not any(entry.iterdir()):
            yield Problem(entry.name, "holds no file: what its rank saved is missing")


_JUDGES: Mapping[Kind, Callable[[Path], Iterator[Problem]]] = {
    Kind.TRAINER: _trainer,
    Kind.DEEPSPEED: _deepspeed,
    Kind.UNIVERSAL: _universal,
    Kind.ACCELERATE: _accelerate,
    Kind.LIGHTNING: _lightning,
    Kind.DCP: _dcp,
}


def _is_tag(directory: Path, tag: str) -> bool:
    return tag not in ("", ".", "..") and "/" not in tag and (directory / tag).is_dir()


def _plain_trainer_problems(directory: Path) -> Iterator[Problem]:
    names = {entry.name for entry in directory.iterdir()}
    yield from _weights_problems(directory, names)
    for name in ("optimizer", "scheduler"):
        if not any(one in (f"{name}.pt", f"{name}.bin") or one.startswith(f"{name}_") for one in names):
            yield Problem(f"{name}.pt", "is missing")
    yield from _sharded(directory, names)


def _weights_problems(directory: Path, names: set[str]) -> Iterator[Problem]:
    """The model's, or an adapter's alone: of several adapters each has a directory of its own."""
    adapters = [path.parent for path in [*directory.glob("adapter_model.*"), *directory.glob("*/adapter_model.*")]]
    for adapter in dict.fromkeys(adapters):
        if not (adapter / "adapter_config.json").exists():
            name = (adapter / "adapter_config.json").relative_to(directory).as_posix()
            yield Problem(name, "is missing: the adapter cannot be loaded without it")
    if adapters or any(map(_HF_WEIGHTS.fullmatch, names)):
        return
    shard = next((match for match in map(_SHARD.fullmatch, sorted(names)) if match), None)
    if shard is not None:
        yield Problem(f"{shard.group(1)}{shard.group(2)}.index.json", "is missing: it says what lies in which shard")
    else:
        yield Problem("model.safetensors", "is missing, and so is every other form of the weights")


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
    ranks = world_size or max([_shard_writers(directory), *seen])
    alone = ranks == 1 and (world_size == 1 or not seen)
    names = ["rng_state.pth"] if alone else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in names:
        if not (directory / name).exists():
            yield Problem(name, "is missing: the resumed run would draw other random numbers, silently")


def _frames(directory: Path) -> Iterator[Problem]:
    saves: dict[Path, Save] = {}
    for path in files_of(directory):
        if path.name.endswith("_states.pt"):
            save = saves.get(path.parent) or saves.setdefault(path.parent, read_save(path.parent))
            if save.is_left_over(path.name):
                continue
        what = _frame_problem(path)
        if what:
            yield Problem(path.relative_to(directory).as_posix(), what)


def _frame_problem(path: Path) -> str | None:
    if path.suffix in _TORCH or any(one.fullmatch(path.name) for one in (_TORCH_BIN, _RANDOM_STATE, _CUSTOM)):
        return archives.torch_problem(path)
    if path.suffix == ".safetensors":
        return archives.safetensors_problem(path)
    if path.name == "trainer_state.json":
        return None  # it has its own, fuller check
    if path.suffix in _NEVER_EMPTY and not path.stat().st_size:
        return "is empty"
    return _other_problem(path)


def _other_problem(path: Path) -> str | None:
    """Of a file that may be anybody's: what begins as a zip must be a whole one."""
    if path.suffix in _ZIPS:
        return archives.zip_problem(path)
    if path.suffix in _PERHAPS_TORCH and archives.is_archive(path):
        return archives.torch_problem(path)
    if path.name.endswith(".index.json"):
        return archives.json_problem(path) or _index_problem(path)
    return archives.json_problem(path) if path.name in _CONFIGS else None


def _index_problem(path: Path) -> str | None:
    index = json.loads(path.read_bytes())
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        return "has no weight_map"
    missing = sorted({name for name in shards.values() if not (path.parent / str(name)).exists()})
    return f"names {', '.join(missing)}: not there" if missing else None
