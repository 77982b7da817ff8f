"""Finds checkpoints in a tree that a script writes into, by what the libraries leave there. Reads names, not contents.

A unit is one checkpoint: a directory, or a single file. Nothing inside a unit is a unit of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional, Sequence

from orchestrator.job.protocol.files import COMMIT
from orchestrator.job.system.atomic import read_json

POINTERS = frozenset({"latest", "latest_universal", "latest_checkpointed_iteration.txt"})  # names of the newest unit
UNIVERSAL = "_universal"  # ends the name of a tag that `ds_to_universal` has converted
_DEPTH = 4  # directories below the tree: lightning_logs/version_0/checkpoints/NAME is the deepest default of a library
_SKIPPED = frozenset({"__pycache__", "node_modules", "wandb", "mlruns", "runs", "site-packages"})
_STEP = re.compile(
    r"(?:^|[^0-9a-z]|step|iter|epoch|ckpt|checkpoint|model|save)0*(\d+)(?:[._](?:universal|[a-z]+))*$", re.IGNORECASE
)
_STEP_KEY = re.compile(r"\bstep=(\d+)")
_NAMED = re.compile(r"(?:global_?)?(?:step|checkpoint|ckpt|epoch|iter|iteration|save)[-_=]?\d+$", re.IGNORECASE)
_COUNTS_SAVES = re.compile(r"checkpoint_\d+|.*epoch[-_=]?\d+[^=]*", re.IGNORECASE)
_TAG_FILE = re.compile(r"(.*_)?(mp_rank_\d+_)?(model|optim)_states\.pt|layer_\d+.*-model_states\.pt")
_RANDOM = re.compile(r"random_states_\d+\.pkl")
_WEIGHTS = re.compile(r"(model|adapter_model|pytorch_model|diffusion_pytorch_model)([-_.].*)?\.(safetensors|bin)")
_TRAINER = re.compile(
    r"trainer_state\.json|training_args\.bin|rng_state.*|latest|global_step\d+|.*config\.json|.*\.safetensors|pytorch_model.*"
)
_RESUMABLE = frozenset({"optimizer.pt", "optimizer.bin", "latest", "rng_state.pth", "rng_state_0.pth"})
_TORCH = frozenset({".pt", ".pth", ".tar", ".pkl", ".bin"})


Inside = Mapping[str, "os.DirEntry[str]"]


class Kind(str, Enum):
    """Whose layout a checkpoint has."""

    TRAINER = "trainer"  # transformers.Trainer: checkpoint-N, with DeepSpeed, FSDP or neither
    DEEPSPEED = "deepspeed"  # one tag of DeepSpeed's save_checkpoint
    UNIVERSAL = "universal"  # such a tag, converted for another number of ranks
    ACCELERATE = "accelerate"  # Accelerator.save_state
    LIGHTNING = "lightning"  # *.ckpt: a file, or a directory where the strategy shards
    DCP = "dcp"  # torch.distributed.checkpoint
    TORCH = "torch"  # torch.save, of a script's own
    WEIGHTS = "weights"  # a model alone: nothing to resume from

    __str__ = str.__str__


@dataclass(frozen=True)
class Found:
    """A unit. `path` and `pointers` are relative to the tree; "." is the tree itself.

    `step`: what its name or its own files say, None where nothing does; with `counts_saves` the number in the name
    counts saves or epochs. `pointers`: files and links beside it that name the newest. `time`: its newest file's.
    """

    path: str
    step: Optional[int]
    kind: Kind
    pointers: tuple[str, ...]
    time: float
    counts_saves: bool = False


def find(tree: Path, *, depth: int = _DEPTH, left_out: frozenset[str] = frozenset()) -> list[Found]:
    """Every unit below `tree`, in the order of paths; nothing where there is no such directory. Raises OSError.

    `left_out`: paths relative to the tree that are not looked at.
    """
    return sorted(_below(tree, "", depth, left_out), key=lambda unit: unit.path)


def kind_of(unit: Path) -> Optional[Kind]:
    """The kind of one directory or file; None when it is no unit. Raises OSError."""
    if not unit.is_dir():
        return _kind_of_file(unit.name) if unit.exists() else None
    with os.scandir(unit) as entries:
        return _kind_of_directory(unit.name, {entry.name: entry for entry in entries})


def step_in_name(name: str) -> Optional[int]:
    """The number that the name of a unit ends in, or gives as `step=`; None when it says none."""
    match = _STEP_KEY.search(name) or _STEP.search(name)
    return int(match.group(1)) if match else None


def is_tag(unit: Path) -> bool:
    """Whether `unit` is a tag of DeepSpeed's, which is loaded from the directory that holds it."""
    return unit.is_dir() and kind_of(unit) in (Kind.DEEPSPEED, Kind.UNIVERSAL)


def _below(directory: Path, prefix: str, depth: int, left_out: frozenset[str]) -> Iterator[Found]:
    try:
        with os.scandir(directory) as scanned:
            entries = {entry.name: entry for entry in scanned if prefix + entry.name not in left_out}
    except (FileNotFoundError, NotADirectoryError):
        return
    kinds: dict[str, Kind] = {}
    inside: dict[str, Inside] = {}
    for name, entry in entries.items():
        if entry.is_dir():
            inside[name] = _entries(entry)
            kind = _kind_of_directory(name, inside[name])
        else:
            kind = _kind_of_file(name) if entry.is_file() else None
        if kind is not None:
            kinds[name] = kind
    links = {name for name in kinds if entries[name].is_symlink() and _is_beside(directory, name, kinds)}
    pointers = tuple(sorted(prefix + name for name in {*links, *(POINTERS & entries.keys())}))
    for name, entry in entries.items():
        if name in kinds and name not in links:
            yield _found(directory / name, prefix + name, kinds[name], pointers, inside.get(name))
        elif name in inside and name not in kinds and depth > 0 and not entry.is_symlink() and not _is_skipped(name):
            yield from _below(directory / name, f"{prefix}{name}/", depth - 1, left_out)


def _entries(entry: os.DirEntry[str]) -> Inside:
    try:
        with os.scandir(entry.path) as scanned:
            return {inner.name: inner for inner in scanned}
    except (FileNotFoundError, PermissionError):
        return {}


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _is_beside(directory: Path, name: str, kinds: Mapping[str, Kind]) -> bool:
    """Whether the link `name` leads to another unit of the same directory: it is how a library names the newest."""
    target = directory / os.readlink(directory / name)
    return target.parent == directory and target.name in kinds


def _found(unit: Path, path: str, kind: Kind, pointers: tuple[str, ...], inside: Optional[Inside]) -> Found:
    times = [entry.stat().st_mtime for entry in inside.values() if entry.is_file()] if inside is not None else []
    step = step_in_name(unit.name)
    if kind is Kind.TRAINER and step is None:
        state = (read_json(unit / "trainer_state.json") or {}).get("global_step")
        step = state if isinstance(state, int) else None
    counts = step is not None and "step" not in unit.name and _COUNTS_SAVES.fullmatch(unit.name) is not None
    return Found(path, step, kind, pointers, max([unit.stat().st_mtime, *times]), counts)


def _kind_of_directory(name: str, inside: Inside) -> Optional[Kind]:
    """What the names in a directory, and its own, make of it: the first rule that holds."""
    return next((kind for kind, holds in _RULES if holds(name, inside)), None)


def _is_trainer(name: str, inside: Inside) -> bool:
    if re.fullmatch(r"checkpoint-\d+", name) and not _is_state(name, inside) and ".metadata" not in inside:
        return COMMIT in inside or not _has_torch(inside) or any(map(_TRAINER.fullmatch, inside))
    return "trainer_state.json" in inside and not _RESUMABLE.isdisjoint(inside)


def _is_state(name: str, inside: Inside) -> bool:
    """Of accelerate, which writes the random states last."""
    begun = _NAMED.match(name) and not {"optimizer.bin", "pytorch_model"}.isdisjoint(inside)
    return bool(begun) or any(map(_RANDOM.fullmatch, inside))


def _is_tag(name: str, inside: Inside) -> bool:
    return any(map(_TAG_FILE.fullmatch, inside)) or re.fullmatch(r"global_step\d+", name) is not None


def _is_universal(name: str, inside: Inside) -> bool:
    converted = "zero" in inside and inside["zero"].is_dir()
    return converted and (_is_tag(name, inside) or name.endswith(UNIVERSAL))


def _has_torch(inside: Inside) -> bool:
    return any(Path(inner).suffix in _TORCH and not _WEIGHTS.fullmatch(inner) for inner in inside)


_RULES: Sequence[tuple[Kind, Callable[[str, Inside], bool]]] = (  # in this order: libraries save into one another
    (Kind.TRAINER, _is_trainer),
    (Kind.ACCELERATE, _is_state),
    (Kind.LIGHTNING, lambda name, _: name.endswith(".ckpt")),
    (Kind.DCP, lambda _, inside: ".metadata" in inside or any(inner.endswith(".distcp") for inner in inside)),
    (Kind.UNIVERSAL, _is_universal),
    (Kind.DEEPSPEED, _is_tag),
    (Kind.TORCH, lambda name, inside: COMMIT in inside or (bool(_NAMED.fullmatch(name)) and _has_torch(inside))),
    (Kind.WEIGHTS, lambda name, inside: bool(_NAMED.fullmatch(name)) and any(map(_WEIGHTS.fullmatch, inside))),
)


def _kind_of_file(name: str) -> Optional[Kind]:
    suffix = Path(name).suffix
    if name.startswith("."):
        return None
    if _WEIGHTS.fullmatch(name) or suffix == ".safetensors":
        return Kind.WEIGHTS
    if suffix == ".ckpt":
        return Kind.LIGHTNING
    return Kind.TORCH if suffix in _TORCH - {".pkl", ".bin"} else None
