"""Write orchestrator/planner/ds_keys.json: every key of a ds_config, as the installed DeepSpeed reads it.

DeepSpeed's pydantic models give keys, kinds, ranges and other names. Where it has no model, it is given a dictionary
that notes each key that it reads, and the key's default. Parameters of optimizers and schedulers are those of their
signatures, DeepSpeed's and torch's. `tools/ds_keys.toml` adds what none of them says.

Usage: python tools/dskeys.py [--check]     (--check: write nothing, exit status 1 when the file is out of date)
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import logging
import sys
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import deepspeed
import torch
from annotated_types import Ge, Gt, Le, Lt
from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam
from deepspeed.ops.lamb import FusedLamb
from deepspeed.ops.lion import DeepSpeedCPULion, FusedLion
from deepspeed.runtime import config as ds
from deepspeed.runtime import lr_schedules
from deepspeed.runtime.config_utils import DeepSpeedConfigModel
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS
from torch.optim.lr_scheduler import LRScheduler

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "orchestrator" / "planner" / "ds_keys.json"
ADDED = ROOT / "tools" / "ds_keys.toml"

# Every section, in the order of the table, and the model that describes it. None: DeepSpeed reads it key by key.
# In a model's section it takes `auto` as "not given".
SECTIONS = {
    "optimizer": None,
    "scheduler": None,
    "zero_optimization": "deepspeed.runtime.zero.config:DeepSpeedZeroConfig",
    "fp16": "deepspeed.runtime.precision_config:DeepSpeedFP16Config",
    "bf16": "deepspeed.runtime.precision_config:DeepSpeedBF16Config",
    "torch_autocast": None,
    "data_types": None,
    "checkpoint": None,
    "checkpoint.parallel_write": None,
    "checkpoint.writer": None,
    "activation_checkpointing": None,
    "tensorboard": "deepspeed.monitor.config:TensorBoardConfig",
    "csv_monitor": "deepspeed.monitor.config:CSVConfig",
    "wandb": "deepspeed.monitor.config:WandbConfig",
    "comet": "deepspeed.monitor.config:CometConfig",
    "comms_logger": "deepspeed.comm.config:CommsLoggerConfig",
    "flops_profiler": None,
    "timers": None,
    "timers.throughput": "deepspeed.utils.config:DeepSpeedThroughputTimerConfig",
    "autotuning": None,
    "compile": "deepspeed.compile.config:CompileConfig",
    "tensor_parallel": "deepspeed.runtime.tensor_parallel.config:TPTrainingConfig",
    "expert_parallel": None,
    "hybrid_engine": "deepspeed.runtime.config:HybridEngineConfig",
    "aio": None,
    "weight_quantization": "deepspeed.inference.config:WeightQuantConfig",
    "data_efficiency": None,
    "data_efficiency.data_sampling": None,
    "data_efficiency.data_routing": None,
}
# What the engine makes of the name of an optimizer of DeepSpeed's own: at first, with offload, and with `torch_adam`.
ADAM: dict[str, type[torch.optim.Optimizer]] = {
    "": FusedAdam,
    "offload": DeepSpeedCPUAdam,
    "torch_adam": torch.optim.AdamW,
}
OPTIMIZERS: dict[str, dict[str, type[torch.optim.Optimizer]]] = {
    "Adam": ADAM,
    "AdamW": ADAM,
    "Adagrad": {"": torch.optim.Adagrad, "offload": DeepSpeedCPUAdagrad},
    "Lamb": {"": FusedLamb},
    "Lion": {"": FusedLion, "offload": DeepSpeedCPULion},
    "Muon": {},
    "MuAdam": {},  # of the package mup, which makes Adam, AdamW and SGD with its own learning rates
    "MuAdamW": {},
    "MuSGD": {},
}
UNTESTED = {"MuSGD"}  # of those without a class here, what ZeRO takes only with zero_allow_untested_optimizer
POPPED = {"torch_adam", "adam_w_mode", "fp32_optimizer_states"}  # the engine takes these out for every Adam
PASSED = {"adamw_mode", "max_grad_norm"}  # the engine gives this one itself, and refuses that one
# They take an object, which no ds_config can hold.
WITH_OBJECTS = {"ChainedScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "LRScheduler", "_LRScheduler"}
SCALARS = {bool: "flag", int: "whole", float: "number", str: "text", list: "list", tuple: "list", dict: "mapping"}
MISSING = object()
SECTION = "section"


class Noting(dict[str, Any]):
    """A dictionary that notes the keys it is asked for, with the default of each question."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.asked: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: object) -> bool:
        self.asked.setdefault(str(key), MISSING)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        if self.asked.get(key, MISSING) is MISSING:
            self.asked[key] = default
        return super().get(key, default)

    def keys(self) -> Any:
        return self


@dataclass
class Table:
    """A ds_config by paths (`zero_optimization.stage`): the kind of each key, and what is special about some."""

    kinds: dict[str, str] = field(default_factory=lambda: {"": SECTION})
    auto: list[str] = field(default_factory=list)
    null: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)

    def note(self, path: str, asked: Mapping[str, Any]) -> None:
        """The keys of a section that DeepSpeed asked for, whose kinds follow from their defaults."""
        for key, default in asked.items():
            self.kinds[join(path, key)] = "text?" if isinstance(default, str) else SCALARS.get(type(default), "any")

    def describe(self, path: str, model: type[DeepSpeedConfigModel]) -> None:
        """The section that a pydantic model describes."""
        self.kinds.pop(path, None)
        self.kinds[path] = SECTION
        self.auto.append(path)
        for name, key in model.model_fields.items():
            extra = key.json_schema_extra if isinstance(key.json_schema_extra, dict) else {}
            if extra.get("deprecated"):
                meant = model.model_fields.get(str(extra["new_param"]))
                if meant is not None and "new_param_fn" not in extra:
                    self.renamed[join(path, name)] = meant.alias or str(extra["new_param"])
                continue
            if key.alias:
                self.renamed[join(path, name)] = key.alias
            self.field(join(path, key.alias or name), key.annotation, key.metadata)

    def field(self, path: str, annotation: Any, limits: list[Any]) -> None:
        kinds = [kind for kind in of_union(annotation) if kind is not NoneType]
        below = kinds[0] if len(kinds) == 1 else None
        if isinstance(below, type) and issubclass(below, DeepSpeedConfigModel):
            self.describe(path, below)
            if NoneType in of_union(annotation):
                self.null.append(path)
        else:
            self.kinds[path] = of_type(annotation, limits)


def main(arguments: list[str]) -> int:
    text = json.dumps(table(), indent=1) + "\n"
    if TABLE.exists() and TABLE.read_text() == text:
        return 0
    if "--check" in arguments:
        print(f"{TABLE.relative_to(ROOT)} is out of date: make docs")
        return 1
    TABLE.write_text(text)
    print(f"wrote {TABLE.relative_to(ROOT)}")
    return 0


def table() -> dict[str, Any]:
    """DeepSpeed's keys, then the additions, which take precedence."""
    logging.disable(logging.WARNING)
    notes, made = read(), Table()
    made.note("", notes[""].asked)
    for path, model in SECTIONS.items():
        if model is not None:
            made.describe(path, named(model))
        else:
            made.kinds.pop(path, None)
            made.kinds[path] = SECTION
            made.note(path, notes[path].asked)
    added = tomllib.loads(ADDED.read_text())
    for path, kinds in added["keys"].items():
        made.kinds[path] = SECTION
        made.kinds.update({join(path, key): kind for kind, keys in kinds.items() for key in keys.split()})
    removed = {path: hint.replace("{version}", deepspeed.__version__) for path, hint in added["removed"].items()}
    gone = {name: hint.replace("{version}", deepspeed.__version__) for name, hint in added["optimizers"].items()}
    theirs = {*ds._REMOVED_TOP_LEVEL_CONFIG_KEYS}  # noqa: SLF001 - DeepSpeed has no public list of them
    theirs |= {f"zero_optimization.{key}" for key in ds._REMOVED_ZERO_CONFIG_KEYS}  # noqa: SLF001 - likewise
    if theirs - removed.keys():
        raise SystemExit(f"{ADDED.name} does not say what to do about {theirs - removed.keys()}, which are removed")
    made.renamed |= added["renamed"]
    made.kinds = {path: kind for path, kind in made.kinds.items() if path not in {*removed, *made.renamed}}
    return {
        "deepspeed": deepspeed.__version__,
        "auto": made.auto,
        "null": [*made.null, *added["null"]],
        "open": added["open"],
        "renamed": made.renamed,
        "removed": removed,
        "keys": by_section(made.kinds),
        "optimizers": optimizers(),
        "removed_optimizers": gone,
        "schedulers": schedulers(),
    }


def optimizers() -> dict[str, Any]:
    """By name: whether its case matters, whether ZeRO takes it untold, its parameters; null where it takes any."""
    if {name.lower() for name in OPTIMIZERS} != set(ds.DEEPSPEED_OPTIMIZERS):
        raise SystemExit(f"{Path(__file__).name} does not say what {ds.DEEPSPEED_OPTIMIZERS} are")
    found: dict[str, Any] = {}
    for name, classes in OPTIMIZERS.items():
        popped = POPPED if classes is ADAM else set()
        takes = {
            variant: " ".join(sorted({*parameters(kind)[0], *popped} - PASSED)) for variant, kind in classes.items()
        }
        tested = ZERO_SUPPORTED_OPTIMIZERS.__contains__
        zero = all(map(tested, classes.values())) if classes else name not in UNTESTED
        found[name] = {"any_case": True, "zero": zero, "takes": takes or None}
    halves = {*DeepSpeedEngine._MUON_HALF_KEYS, *DeepSpeedEngine._ADAM_HALF_KEYS}  # noqa: SLF001 - no public list
    found["Muon"]["takes"] = {"": " ".join(sorted({*halves, *POPPED, "muon_lr", "adam_lr", "foreach"}))}
    for name, kind in vars(torch.optim).items():
        known = name.lower() in ds.DEEPSPEED_OPTIMIZERS or kind is torch.optim.Optimizer
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and not known:
            takes = {"": " ".join(sorted(parameters(kind)[0]))}
            found[name] = {"any_case": False, "zero": kind in ZERO_SUPPORTED_OPTIMIZERS, "takes": takes}
    return found


def schedulers() -> dict[str, Any]:
    """By name, which the engine looks up in its own module and then in torch's: parameters, and those it needs."""
    theirs = {
        name: kind
        for name, kind in vars(torch.optim.lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, LRScheduler) and name not in WITH_OBJECTS
    }
    ours = {name: getattr(lr_schedules, name) for name in lr_schedules.VALID_LR_SCHEDULES}
    return {
        name: {"takes": " ".join(takes), "needs": " ".join(needs)}
        for name, (takes, needs) in ((name, parameters(kind)) for name, kind in {**theirs, **ours}.items())
    }


def parameters(kind: type) -> tuple[list[str], list[str]]:
    """The names of the parameters of a class but the first (what it optimizes), and of those without a default."""
    _, *rest = inspect.signature(kind).parameters.values()
    return [each.name for each in rest], [each.name for each in rest if each.default is inspect.Parameter.empty]


def by_section(kinds: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The keys of each section by their kind."""
    sections: dict[str, dict[str, str]] = {path: {} for path, kind in kinds.items() if kind == SECTION}
    for path, kind in kinds.items():
        above, _, key = path.rpartition(".")
        if kind != SECTION:
            sections[above][kind] = f"{sections[above].get(kind, '')} {key}".strip()
    return sections


def read() -> dict[str, Noting]:
    """What DeepSpeed asks of the sections that it reads key by key, and of the whole configuration (under '')."""
    notes = {path: Noting({}) for path, model in SECTIONS.items() if model is None}
    notes[""] = Noting({"train_micro_batch_size_per_gpu": 1})
    for path, note in notes.items():
        above, _, key = path.rpartition(".")
        if path:
            notes[above][key] = note
    # Their parameters are read only when there is a name.
    notes["optimizer"]["type"], notes["scheduler"]["type"] = "AdamW", "WarmupLR"
    ds.DeepSpeedConfig(notes[""])
    return notes


def named(model: str) -> type[DeepSpeedConfigModel]:
    module, _, name = model.partition(":")
    found: type[DeepSpeedConfigModel] = getattr(importlib.import_module(module), name)
    return found


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def of_union(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, UnionType) else (annotation,)


def of_type(annotation: Any, limits: list[Any]) -> str:
    """An annotation in the table's notation."""
    kinds = of_union(annotation)
    if len(kinds) > 1:
        kind = of_type(kinds[0], limits) if len(kinds) == 2 and NoneType in kinds else "any"
        return kind if kind == "any" else f"{kind}?"
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(typing.get_args(annotation))
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
        return f"whole >={min(values)} <={max(values)}" if issubclass(kind, int) else "|".join(values)
    return " ".join([SCALARS.get(kind, "any"), *bounds(kind, limits)])


def bounds(kind: type, limits: list[Any]) -> Iterator[str]:
    for limit in limits:
        match limit:
            case Gt(gt=int(bound)) if kind is int:
                yield f">={bound + 1}"
            case Gt(gt=bound):
                yield f">{bound:g}"
            case Ge(ge=bound):
                yield f">={bound:g}"
            case Le(le=bound):
                yield f"<={bound:g}"
            case Lt(lt=bound):
                yield f"<{bound:g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
