"""Finds checkpoints in a tree that a script writes into, by what the libraries leave there.

Names say nearly all of it. Files are opened only where they alone know the step, or that they are a checkpoint.

A unit is one checkpoint: a directory, or a single file. Nothing inside a unit is a unit of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional, Sequence

from orchestrator.job.checkpoints import archives
from orchestrator.job.protocol.files import COMMIT
from orchestrator.job.system.atomic import read_json

POINTERS = frozenset({"latest", "latest_universal", "latest_checkpointed_iteration.txt"})  # names of the newest unit
UNIVERSAL = "_universal"  # ends the name of a tag that `ds_to_universal` has converted
_DEPTH = 4  # directories below the tree: lightning_logs/version_0/checkpoints/NAME is the deepest default of a library
_SKIPPED = frozenset({"__pycache__", "node_modules", "wandb", "mlruns", "runs", "site-packages"})
# Not looked at: code and data may be thousands of files, in a directory that is read at each look at a run.
_OF_NO_CHECKPOINT = (
    ".py",
    ".pyc",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".csv",
    ".png",
    ".ipynb",
    ".log",
    ".parquet",
    ".arrow",
)
_STEP = re.compile(
    r"(?:^|[^0-9a-z]|step|iter|epoch|ckpt|checkpoint|model|save)0*(\d+)(?:[._](?:universal|[a-z]+))*$", re.IGNORECASE
)
_STEP_KEY = re.compile(r"(?:step|iter|iteration)=(\d+)")  # Lightning's names: epoch=0-step=10-val_loss=0.25.ckpt
_EPOCH_KEY = re.compile(r"epoch=(\d+)")
_OF_A_RANK = re.compile(r"[-_.]rank[-_]?\d+(?=\.|$)", re.IGNORECASE)
_NAMED = re.compile(r"(?:global_?)?(?:step|checkpoint|ckpt|epoch|iter|iteration|save)[-_=]?\d+$", re.IGNORECASE)
_NAMED_NEWEST = frozenset({"last", "latest", "best", "final", "current", "resume"})  # and its files say no step
_COUNTS_SAVES = re.compile(r"checkpoint_\d+|.*epoch[-_]?\d+.*", re.IGNORECASE)
_STAGED = re.compile(r"tmp-checkpoint-\d+")  # a Trainer's, of some releases: renamed when it is whole
_TAG_FILE = re.compile(r"(.*_)?(mp_rank_\d+_)?(model|optim)_states\.pt|layer_\d+.*-model_states\.pt")
_MEGATRON_RANK = re.compile(r"mp_rank_\d+(_\d+)*")
_METADATA = re.compile(r"(__\d+)?\.metadata")
_INDEX = re.compile(r"(model|pytorch_model|diffusion_pytorch_model)\.(safetensors|bin)\.index\.json")
_RANDOM = re.compile(r"random_states_\d+\.pkl")
_WEIGHTS = re.compile(r"(model|adapter_model|pytorch_model|diffusion_pytorch_model)([-_.].*)?\.(safetensors|bin)")
_TRAINER = re.compile(
    r"trainer_state\.json|training_args\.bin|rng_state(_\d+)?\.pth|(pytorch_model_fsdp|optimizer)_\d+"
)
_RESUMABLE = frozenset({"optimizer.pt", "optimizer.bin", "latest", "rng_state.pth", "rng_state_0.pth"})
_TORCH = frozenset({".pt", ".pth", ".pkl", ".bin"})
_TORCH_TAR = re.compile(r".*(\.pth?|\.ckpt|checkpoint.*|ckpt.*|model.*)\.tar", re.IGNORECASE)
_STATE_KEYS = frozenset(
    {"model", "module", "state_dict", "model_state_dict", "optimizer", "optimizer_state_dict", "epoch"}
)
_CHECKPOINT_WORD = re.compile(
    r"step|iter|epoch|ckpt|chkpt|checkpoint|model|save|state|snapshot|last|latest|best|final|resume|weights",
    re.IGNORECASE,
)
_CHECKPOINTS_WORD = re.compile(r"ckpt|chkpt|checkpoint|snapshot", re.IGNORECASE)  # in a directory's name
_MANY = 100  # files of torch's in one directory: more are data
_STEP_KEYS = ("global_step", "global_steps", "step", "iteration", "iter", "iter_num")  # in a dictionary that was saved


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


_SAY_STEP = frozenset({Kind.TRAINER, Kind.DEEPSPEED, Kind.UNIVERSAL, Kind.LIGHTNING, Kind.TORCH})


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


def find(
    tree: Path,
    *,
    depth: int = _DEPTH,
    left_out: frozenset[str] = frozenset(),
    itself: bool = False,
    lone: bool = False,
) -> list[Found]:
    """Every unit below `tree`, in the order of paths; nothing where there is no such directory. Raises OSError.

    `left_out`: paths relative to the tree that are not looked at. With `itself` the tree may be a unit, which only its
    files can say and not its name; then it is the only one. With `lone`, where there is nothing else at the top, files
    of torch's count whatever their names are.
    """
    entries = _entries(tree, left_out)
    kind = _kind_of_directory("", entries) if itself and not any(map(_NAMED.fullmatch, entries)) else None
    if kind is not None:
        return [_found(tree, ".", kind, (), entries)]
    return sorted(_below(tree, "", entries, depth, left_out, lone=lone), key=lambda unit: unit.path)


def kind_of(unit: Path) -> Optional[Kind]:
    """The kind of one directory or file; None when it is no unit. Raises OSError."""
    if not unit.is_dir():
        return _kind_of_file(unit.name) if unit.exists() else None
    kind = _kind_of_directory(unit.name, _entries(unit))
    return Kind.DEEPSPEED if kind is None and latest_tag(unit.parent) == unit.name else kind


def step_in_name(name: str) -> Optional[int]:
    """The number that the name of a unit ends in, or gives as `step=`; None when it says none."""
    name = _OF_A_RANK.sub("", name)
    match = (_STEP_KEY.search(name) or _EPOCH_KEY.search(name)) if "=" in name else _STEP.search(name)
    return int(match.group(1)) if match else None


def _counts_saves(name: str) -> bool:
    """Whether the number that is a name's step counts saves or epochs."""
    if "=" in name:
        return _STEP_KEY.search(name) is None
    return "step" not in name and _COUNTS_SAVES.fullmatch(name) is not None


def _recorded_step(unit: Path, kind: Kind) -> Optional[int]:
    """The step that the files of a unit say whose name says none."""
    if kind is Kind.TRAINER:
        step = (read_json(unit / "trainer_state.json") or {}).get("global_step")
        return step if isinstance(step, int) else None
    if not unit.is_dir():
        return _step_in(unit)
    for name in ("checkpoint", ""):  # Lightning keeps DeepSpeed's tag below its own directory
        for pattern in ("*model_states.pt", "meta.pt", "*.pt", "*.pth", "*.ckpt"):
            for path in sorted((unit / name).glob(pattern))[:1]:
                step = _step_in(path)
                if step is not None:
                    return step
    return None


def is_tag(unit: Path) -> bool:
    """Whether `unit` is a tag of DeepSpeed's, which is loaded from the directory that holds it."""
    return unit.is_dir() and kind_of(unit) in (Kind.DEEPSPEED, Kind.UNIVERSAL) and not holds_tags(unit)


def latest_tag(directory: Path) -> Optional[str]:
    """What DeepSpeed's `latest` in `directory` says; None when there is no such file."""
    try:
        return (directory / "latest").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def holds_tags(directory: Path) -> bool:
    """Whether DeepSpeed has saved into `directory`, as save_checkpoint(directory) does."""
    return (directory / "latest").exists() or any(directory.glob("global_step*"))


def _step_in(path: Path) -> Optional[int]:
    """The step at the top of a file of torch's."""
    return _contents(path)[1]


def _is_state_file(path: Path) -> bool:
    """Whether a dictionary was saved that has parts of a training's state."""
    return _contents(path)[0]


def _contents(path: Path) -> tuple[bool, Optional[int]]:
    try:
        status = path.stat()
    except OSError:
        return False, None
    return _read_contents(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)  # a run's checkpoints are looked at often, and change seldom
def _read_contents(path: str, _changed: int, _size: int) -> tuple[bool, Optional[int]]:
    values = archives.plain_values(Path(path))
    found = (values.get(key) for key in _STEP_KEYS)
    step = next((step for step in found if isinstance(step, int) and not isinstance(step, bool) and step >= 0), None)
    return step is not None or not _STATE_KEYS.isdisjoint(values), step


def _below(
    directory: Path, prefix: str, entries: Inside, depth: int, left_out: frozenset[str], *, lone: bool = False
) -> Iterator[Found]:
    newest = latest_tag(directory) if "latest" in entries else None  # a tag, even if nothing is in it yet
    kinds: dict[str, Kind] = {}
    inside: dict[str, Inside] = {}
    for name, entry in entries.items():
        path = prefix + name
        if _is(entry, os.DirEntry.is_dir):
            inside[name] = _entries(directory / name)
            kind = _kind_of_directory(name, inside[name]) or (Kind.DEEPSPEED if name == newest else None)
        else:
            kind = _kind_of_file(name) if _is(entry, os.DirEntry.is_file) else None
        if kind is not None and path not in left_out:
            kinds[name] = kind
    data = _data(directory, [name for name, kind in kinds.items() if kind is Kind.TORCH and name not in inside])
    if not (lone and len(data) == len(kinds) <= _MANY):
        for name in data:
            del kinds[name]
    links = {name for name in kinds if entries[name].is_symlink() and _is_beside(directory, name, kinds)}
    pointers = tuple(sorted(prefix + name for name in {*links, *(POINTERS & entries.keys())}))
    for name, entry in entries.items():
        if name in kinds and name not in links:
            yield _found(directory / name, prefix + name, kinds[name], pointers, inside.get(name))
        elif name in inside and name not in kinds and depth > 0 and not entry.is_symlink() and not _is_skipped(name):
            below = {inner: entry for inner, entry in inside[name].items() if f"{prefix}{name}/{inner}" not in left_out}
            yield from _below(directory / name, f"{prefix}{name}/", below, depth - 1, left_out)


def _entries(directory: Path, left_out: frozenset[str] = frozenset()) -> Inside:
    try:
        with os.scandir(directory) as scanned:
            seen = (entry for entry in scanned if not entry.name.endswith(_OF_NO_CHECKPOINT))
            return {entry.name: entry for entry in seen if entry.name not in left_out}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}


def _is(entry: os.DirEntry[str], asked: Callable[[os.DirEntry[str]], bool]) -> bool:
    """False too for a link that leads to itself, or to where this user may not look."""
    try:
        return asked(entry)
    except OSError:
        return False


def _data(directory: Path, names: Sequence[str]) -> list[str]:
    """Which files of torch.save in a directory are no checkpoints: neither their names say so nor what is in them."""
    if _CHECKPOINTS_WORD.search(directory.name):
        return []
    others = [name for name in names if not _CHECKPOINT_WORD.search(name)]
    if len(others) > _MANY:
        return others  # samples of a data set, say: too many to open
    return [name for name in others if not _is_state_file(directory / name)]


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _is_beside(directory: Path, name: str, kinds: Mapping[str, Kind]) -> bool:
    """Whether the link `name` leads to another unit of the same directory: it is how a library names the newest."""
    where, target = os.path.split(os.path.realpath(directory / name))
    return where == os.path.realpath(directory) and target in kinds and target != name


def _found(unit: Path, path: str, kind: Kind, pointers: tuple[str, ...], inside: Optional[Inside]) -> Found:
    times = [entry.stat().st_mtime for entry in inside.values() if entry.is_file()] if inside is not None else []
    step = step_in_name(unit.name)
    counts = step is not None and _counts_saves(unit.name)
    if kind in _SAY_STEP and (step is None or counts):
        recorded = _recorded_step(unit, kind)
        step, counts = (step, counts) if recorded is None else (recorded, False)
    if step is None and "/" in path:
        step, counts = step_in_name(unit.parent.name), _counts_saves(unit.parent.name)
    return Found(path, step, kind, pointers, max([unit.stat().st_mtime, *times]), counts)


def _kind_of_directory(name: str, inside: Inside) -> Optional[Kind]:
    """What the names in a directory, and its own, make of it: the first rule that holds."""
    return next((kind for kind, holds in _RULES if holds(name, inside)), None)


def _is_trainer(name: str, inside: Inside) -> bool:
    if re.fullmatch(r"checkpoint-\d+", name) and not _is_state(name, inside) and not _is_distributed(inside):
        if any(map(_TRAINER.fullmatch, inside)):
            return True
        return not _is_folder(name, inside) and COMMIT not in inside and not _has_torch(inside)
    if _STAGED.fullmatch(name):
        return False
    return "trainer_state.json" in inside and not _RESUMABLE.isdisjoint(inside)


def _is_state(name: str, inside: Inside) -> bool:
    """Of accelerate, which writes the random states last."""
    begun = _NAMED.match(name) and not {"optimizer.bin", "pytorch_model"}.isdisjoint(inside)
    return bool(begun) or any(map(_RANDOM.fullmatch, inside))


def _is_distributed(inside: Inside) -> bool:
    return any(_METADATA.fullmatch(inner) or inner.endswith(".distcp") for inner in inside)


def _is_folder(name: str, inside: Inside) -> bool:
    """A directory of a step's own that DeepSpeed has saved into."""
    return re.fullmatch(r"checkpoint-\d+", name) is not None and (
        "latest" in inside or any(inner.startswith("global_step") for inner in inside)
    )


def _is_own(name: str, inside: Inside) -> bool:
    """Of a script's own, or Megatron's: files of torch's in a directory whose name says what it is."""
    if COMMIT in inside:
        return True
    if _NAMED.fullmatch(name):
        return _has_torch(inside) or any(map(_MEGATRON_RANK.fullmatch, inside))
    files = [inner for inner in inside if _kind_of_file(inner) in (Kind.TORCH, Kind.LIGHTNING)]
    return name.lower() in _NAMED_NEWEST and len(files) > 1 and not any(map(step_in_name, files))


def _is_model(name: str, inside: Inside) -> bool:
    """A model alone; one in shards needs no name that says so, but checkpoints may lie beside a model."""
    if _NAMED.fullmatch(name):
        return any(map(_WEIGHTS.fullmatch, inside))
    sharded = any(_INDEX.fullmatch(inner) for inner in inside)
    return sharded and not any(_is(entry, os.DirEntry.is_dir) for entry in inside.values())


def _is_tag(name: str, inside: Inside) -> bool:
    return any(map(_TAG_FILE.fullmatch, inside)) or re.fullmatch(r"global_step\d+", name) is not None


def _is_universal(name: str, inside: Inside) -> bool:
    converted = "zero" in inside and inside["zero"].is_dir()
    begun = re.fullmatch(r"global_step\d+" + UNIVERSAL, name) is not None
    return begun or (converted and (_is_tag(name, inside) or name.endswith(UNIVERSAL)))


def _has_torch(inside: Inside) -> bool:
    return any(Path(inner).suffix in _TORCH and not _WEIGHTS.fullmatch(inner) for inner in inside)


_RULES: Sequence[tuple[Kind, Callable[[str, Inside], bool]]] = (  # in this order: libraries save into one another
    (Kind.TRAINER, _is_trainer),
    (Kind.ACCELERATE, _is_state),
    (Kind.LIGHTNING, lambda name, _: name.endswith(".ckpt")),
    (Kind.DCP, lambda _, inside: _is_distributed(inside)),
    (Kind.UNIVERSAL, _is_universal),
    (Kind.DEEPSPEED, lambda name, inside: _is_tag(name, inside) or _is_folder(name, inside)),
    (Kind.TORCH, _is_own),
    (Kind.WEIGHTS, _is_model),
)


def _kind_of_file(name: str) -> Optional[Kind]:
    suffix = os.path.splitext(name)[1]
    if name.startswith("."):
        return None
    if _WEIGHTS.fullmatch(name) or suffix == ".safetensors":
        return Kind.WEIGHTS
    if suffix == ".ckpt":
        return Kind.LIGHTNING
    return Kind.TORCH if suffix in _TORCH - {".pkl", ".bin"} or _TORCH_TAR.fullmatch(name) else None
