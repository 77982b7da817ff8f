"""Check what a job of the built-in trainer says of its model against the table of transformers' models.

Another version may train it, there: what only this table does not know is a warning, what was surely mistyped an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.job.nearest import misspelt, nearest
from orchestrator.model.spec import Spec
from orchestrator.planner.shapes import Config

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
_SIZES = (("hidden_size", "num_attention_heads"), ("n_embd", "n_head"), ("d_model", "n_heads"))
# Keys that are in no class: older names, which transformers still reads, and keys that it writes into every file.
_READ_TOO = frozenset(
    {
        "rope_theta", "rope_scaling", "torch_dtype", "partial_rotary_factor", "max_length", "min_length",
        "use_return_dict", "output_attentions", "quantization_config", "attn_implementation", "_name_or_path",
        "_attn_implementation",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKeys:
    """`causal`: the keys of each type of causal language model beside those of `every` model; `others`: other types."""

    version: str
    arguments: frozenset[str]
    others: frozenset[str]
    every: frozenset[str]
    causal: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNotes:
    problems: tuple[JobError, ...] = ()
    warnings: tuple[str, ...] = ()


@cache
def table() -> ModelKeys:
    raw = json.loads(Path(__file__).with_name("model_keys.json").read_text())
    return ModelKeys(
        version=raw["transformers"],
        arguments=frozenset(raw["arguments"].split()),
        others=frozenset(raw["others"].split()),
        every=frozenset(raw["every"].split()),
        causal={name: frozenset(keys.split()) for name, keys in raw["causal"].items()},
    )


def check(spec: Spec, config: Config | None) -> ModelNotes:
    """All mistakes in `model`, `data.sequence_length` and `training.args`. `config`: the model's, where it is known."""
    if spec.model is None:
        return ModelNotes()
    found = [*_of_arguments(spec)]
    if config is not None:
        inline = spec.model.config is not None
        found += _of_type(config, inline=inline)
        found += _of_keys(config) if inline else ()
        found += _of_sizes(config, spec, "model.config" if inline else "model.path")
    problems = tuple(one for one in found if isinstance(one, JobError))
    return ModelNotes(problems=problems, warnings=tuple(one for one in found if isinstance(one, str)))


def _of_arguments(spec: Spec) -> Iterator[JobError | str]:
    given = spec.training.args if spec.training is not None else {}
    for name in given:
        if name in table().arguments:
            continue
        near = nearest(name, table().arguments)
        none = f"TrainingArguments of transformers {table().version} have no {name}"
        if near:
            yield JobError(f"{none}; did you mean {near}?", field=f"training.args.{name}")
        else:
            yield f"training.args.{name}: {none}; the job fails at its start unless the one that it runs with has it."


def _letters(kind: str) -> str:
    """Without its digits: the next version of a family is no slip."""
    return re.sub(r"\d", "", kind)


def _of_type(config: Config, *, inline: bool) -> Iterator[JobError | str]:
    field = "model.config.model_type" if inline else "model.path"
    known, kind = table(), config.get("model_type")
    if not isinstance(kind, str) or kind in known.causal or config.get("auto_map"):
        return
    if kind in known.others:
        yield JobError(
            f"{kind} is no causal language model, which is what orch's own trainer trains",
            hint="Train it by a script of your own: run.",
            field=field,
        )
        return
    near = misspelt(kind, known.causal) if inline else None
    if near and _letters(near) != _letters(kind):
        yield JobError(f"transformers {known.version} knows no model_type {kind}; did you mean {near}?", field=field)
    else:
        yield f"{field}: transformers {known.version} knows no {kind}; the job needs one that does."


def _of_keys(config: Config) -> Iterator[JobError | str]:
    """Only of a configuration that the job spells out: a file's was written by a program, perhaps a newer one."""
    own = table().causal.get(str(config.get("model_type")))
    if own is None:
        return
    for name in config:
        if name in own or name in table().every or name in _READ_TOO:
            continue
        none = f"a {config['model_type']} of transformers {table().version} has no {name}"
        near = misspelt(str(name), sorted(own))
        if near:
            yield JobError(f"{none}; did you mean {near}?", field=f"model.config.{name}")
        else:
            yield f"model.config.{name}: {none}, and nothing reads it."


def _of_sizes(config: Config, spec: Spec, field: str) -> Iterator[JobError]:
    inner = config.get("text_config")
    text = inner if isinstance(inner, Mapping) else config
    positions = next((text[name] for name in _POSITIONS if isinstance(text.get(name), int)), None)
    length = spec.data.sequence_length if spec.data is not None else None
    if positions is not None and length is not None and length > positions:
        yield JobError(
            f"wanted at most the {positions:,} positions of the model, found {length:,}", field="data.sequence_length"
        )
    for size, heads in _SIZES:
        width, count = text.get(size), text.get(heads)
        if not (isinstance(width, int) and isinstance(count, int) and count > 0):
            continue
        if width % count and text.get("head_dim") is None:
            yield JobError(f"{heads} is {count}, which does not divide {size}, {width}", field=f"{field}.{heads}")
