"""Check raw ds_config keys against the table of DeepSpeed's keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import JobError
from orchestrator.job.nearest import misspelt, nearest
from orchestrator.model.plan import DsConfig
from orchestrator.planner.dsschema import NOTHING, Section, Value, table

AUTO = "auto"
FIELD = "deepspeed.config"

# Keys whose `auto` Hugging Face's Trainer replaces from its own arguments and from the model.
TRAINER_FILLS: frozenset[tuple[str, ...]] = frozenset(
    {
        ("train_batch_size",), ("train_micro_batch_size_per_gpu",), ("gradient_accumulation_steps",),
        ("gradient_clipping",), ("fp16", "enabled"), ("bf16", "enabled"), ("optimizer", "params", "lr"),
        ("optimizer", "params", "betas"), ("optimizer", "params", "eps"), ("optimizer", "params", "weight_decay"),
        ("scheduler", "params", "warmup_min_lr"), ("scheduler", "params", "warmup_max_lr"),
        ("scheduler", "params", "warmup_num_steps"), ("scheduler", "params", "total_num_steps"),
        ("zero_optimization", "reduce_bucket_size"), ("zero_optimization", "stage3_prefetch_bucket_size"),
        ("zero_optimization", "stage3_param_persistence_threshold"),
    }
)  # fmt: skip

BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_ZERO = "zero_optimization"
_COMMENTS = ("_", "//", "#")
# Deprecated keys of zero_optimization, each with the section that DeepSpeed makes of it.
_OLD_OFFLOAD = {"cpu_offload": "offload_optimizer", "cpu_offload_param": "offload_param"}
_OLD_PINNING = "cpu_offload_use_pin_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Raw keys under their canonical names, whole numbers as ints, without those that `problems` are about.

    `warnings`: what DeepSpeed ignores or reads otherwise than it is written.
    """

    config: DsConfig
    problems: tuple[JobError, ...]
    warnings: tuple[str, ...]


def check(raw: DsConfig) -> Checked:
    """Check every key."""
    if not raw:
        return Checked(config={}, problems=(), warnings=())
    notes = _Notes()
    config = _section(raw, table().config, (), notes)
    return Checked(config=config, problems=tuple(notes.problems), warnings=tuple(notes.warnings))


def place(path: tuple[str, ...]) -> str:
    """A key's field in job.yaml."""
    return ".".join((FIELD, *path))


@dataclass(frozen=True, slots=True)
class _Notes:
    problems: list[JobError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, message: str, path: tuple[str, ...], hint: str | None = None) -> None:
        self.problems.append(JobError(message, hint=hint, field=place(path)))

    def warn(self, message: str, path: tuple[str, ...]) -> None:
        self.warnings.append(f"{place(path)} {message}" + ("" if message.endswith("?") else "."))


def _section(raw: DsConfig, section: Section, path: tuple[str, ...], notes: _Notes) -> DsConfig:
    checked: dict[str, object] = {}
    for name, value in raw.items():
        here = (*path, str(name))
        key = section.renamed.get(name, name)
        kind = section.keys.get(key)
        if name in section.removed:
            notes.refuse(section.removed[name], here)
        elif key in checked:
            notes.refuse(f"is another name of {key}, which is given too", here, "Keep one.")
        elif kind is not None:
            found = _value(value, kind, section, here, notes)
            if found is not NOTHING:
                checked[key] = found
        elif section.open or _passes(str(name), section, path, notes):
            checked[key] = value
    return _without_old_names(checked, notes) if path == (_ZERO,) else checked


def _value(value: Any, kind: Value | Section, section: Section, path: tuple[str, ...], notes: _Notes) -> Any:
    """NOTHING where the key is as good as absent."""
    if value == AUTO and (section.auto or path in TRAINER_FILLS):
        return value
    if value is None and path[0] in BATCH:
        return NOTHING
    if isinstance(kind, Section):
        return _below(value, kind, path, notes)
    found = kind.read(value, lax=section.auto)
    if found is NOTHING:
        hint = "Nothing fills auto here: remove the key for DeepSpeed's default." if value == AUTO else None
        notes.refuse(f"wanted {kind.describe()}, found {_found(value)}", path, hint)
    return found


def _below(value: Any, section: Section, path: tuple[str, ...], notes: _Notes) -> Any:
    if path == (_ZERO,) and isinstance(value, bool):
        notes.warn(f"is deprecated as {_found(value)}, and read as {{stage: {int(value)}}}", path)
        return {"stage": int(value)}
    if value is None and section.null:
        return NOTHING
    if isinstance(value, Mapping):
        return _section(value, section, path, notes)
    notes.refuse(f"wanted a mapping, found {_found(value)}", path)
    return NOTHING


def _without_old_names(zero: dict[str, object], notes: _Notes) -> DsConfig:
    """`zero_optimization` with the keys that DeepSpeed 0.3 had, as DeepSpeed reads them today."""
    for old, new in _OLD_OFFLOAD.items():
        wanted = zero.pop(old, None)
        if wanted is None or wanted == AUTO:
            continue
        if zero.get(new) is not None:
            notes.refuse(f"is an old way to write {new}, which is given too", (_ZERO, old), "Keep the new one.")
        elif wanted:
            zero[new] = {"device": "cpu"}
            notes.warn(f"is deprecated, and read as {new}: {{device: cpu}}", (_ZERO, old))
    if zero.pop(_OLD_PINNING, None) is not None:
        notes.warn(
            "is deprecated, and DeepSpeed ignores it: pin_memory belongs into the offload sections",
            (_ZERO, _OLD_PINNING),
        )
    return zero


def _passes(name: str, section: Section, path: tuple[str, ...], notes: _Notes) -> bool:
    """Whether a key that DeepSpeed does not know does no harm; notes what is to be said about it."""
    comment = name.startswith(_COMMENTS) or name.lower() in ("comment", "comments")
    here, none = (*path, name), f"DeepSpeed {table().deepspeed} has no such key"
    known = (*section.keys, *section.renamed)
    if section.auto and comment:
        notes.refuse("DeepSpeed takes no comments in this section", here, "Move it out to the top of the file.")
        return False
    if comment:
        return True
    elsewhere = next(
        (found for found in _all_paths(table().config, ()) if found[-1] == name and found[:-1] != path), None
    )
    if meant := misspelt(name, known):
        notes.refuse(f"{none}; did you mean {meant}?", here)
        return False
    if section.auto:
        near = nearest(name, known)
        where = near or (".".join(elsewhere) if elsewhere else None)
        notes.refuse(f"{none}{'' if near else ' here'}; did you mean {where}?" if where else none, here)
        return False
    hint = f"; did you mean {'.'.join(elsewhere)}?" if elsewhere else ""
    notes.warn(f"is no key of DeepSpeed {table().deepspeed}, which ignores it{hint}", here)
    return True


def _all_paths(section: Section, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, kind in section.keys.items():
        yield (*path, name)
        if isinstance(kind, Section):
            yield from _all_paths(kind, (*path, name))


def _found(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value == sys.float_info.max:
        return "Infinity"
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
