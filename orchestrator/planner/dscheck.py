"""Check raw ds_config keys against the table of DeepSpeed's keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import JobError
from orchestrator.job.nearest import nearest
from orchestrator.model.plan import DsConfig
from orchestrator.planner.dsschema import Section, Value, table

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


def check(raw: DsConfig) -> DsConfig:
    """The keys under their canonical names, whole numbers as ints. Raises JobError at the first wrong key."""
    return _section(raw, table().config, ()) if raw else {}


def place(path: tuple[str, ...]) -> str:
    """A key's field in job.yaml."""
    return ".".join((FIELD, *path))


def _section(raw: DsConfig, section: Section, path: tuple[str, ...]) -> DsConfig:
    checked: dict[str, object] = {}
    for name, value in raw.items():
        here = (*path, str(name))
        if name in section.removed:
            raise JobError(section.removed[name], field=place(here))
        key = section.renamed.get(name, name)
        if key in checked:
            raise JobError(f"is another name of {key}, which is given too", hint="Keep one.", field=place(here))
        kind = section.keys.get(key)
        if kind is not None:
            checked[key] = _value(value, kind, section, here)
        elif section.open:
            checked[key] = value
        else:
            raise JobError(_unknown(str(name), section, path), field=place(here))
    return checked


def _value(value: Any, kind: Value | Section, section: Section, path: tuple[str, ...]) -> Any:
    if value == AUTO and (section.auto or path in TRAINER_FILLS):
        return value
    if isinstance(kind, Section):
        if not isinstance(value, Mapping):
            raise JobError(f"wanted a mapping, found {_found(value)}", field=place(path))
        return _section(value, kind, path)
    if not kind.takes(value):
        hint = "Nothing fills auto here: remove the key for DeepSpeed's default." if value == AUTO else None
        raise JobError(f"wanted {kind.describe()}, found {_found(value)}", hint=hint, field=place(path))
    return int(value) if kind.kind == "whole" and value is not None else value


def _unknown(name: str, section: Section, path: tuple[str, ...]) -> str:
    none = f"DeepSpeed {table().deepspeed} has no such key"
    if near := nearest(name, (*section.keys, *section.renamed)):
        return f"{none}; did you mean {near}?"
    elsewhere = [other for other in _all_paths(table().config, ()) if other[-1] == name and other[:-1] != path]
    return f"{none} here; did you mean {'.'.join(elsewhere[0])}?" if elsewhere else none


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
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
