"""The files that one save of DeepSpeed must consist of, as the names there and the model states themselves say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from orchestrator.job.checkpoints import archives

_MODEL = re.compile(r"mp_rank_(?P<model>\d+)_model_states\.pt")
_ZERO_MODEL = re.compile(r"zero_pp_rank_(?P<data>\d+)_mp_rank_(?P<model>\d+)_model_states\.pt")
_OPTIMIZER = re.compile(r"(?P<prefix>bf16_|fp16_|)zero_pp_rank_(?P<data>\d+)_mp_rank_(?P<model>\d+)_optim_states\.pt")
_EXPERT = re.compile(r"layer_(?P<layer>\d+)_expert_(?P<expert>\d+)_mp_rank_(?P<model>\d+)_model_states\.pt")
_EXPERT_OPTIMIZER = re.compile(r"expp_rank_(?P<data>\d+)_mp_rank_(?P<model>\d+)_optim_states\.pt")
_LAYER = re.compile(r"layer_(\d+)(-model_\d+)?-model_states\.pt")
_PARAMETER_OF_LAYER = re.compile(r"(\d+)\.")


@dataclass(frozen=True)
class Save:
    """What a save must consist of. Sizes count ranks; `layers` are those of a pipeline that have parameters."""

    stage: int
    data_parallel: int
    model_parallel: int
    prefix: str
    layers: tuple[int, ...] = ()
    layer_suffixes: tuple[str, ...] = ()
    experts: tuple[int, ...] = ()  # how many each layer of experts has
    expert_optimizers: int = 0

    @property
    def world_size(self) -> int:
        return self.data_parallel * self.model_parallel

    def names(self) -> set[str]:
        """The names of all files that must be there."""
        found = {
            f"layer_{layer:02d}{suffix}-model_states.pt" for layer in self.layers for suffix in self.layer_suffixes
        }
        for model in range(self.model_parallel):
            for layer, experts in enumerate(self.experts):
                found.update(
                    f"layer_{layer}_expert_{one}_mp_rank_{model:02d}_model_states.pt" for one in range(experts)
                )
            found.update(
                f"expp_rank_{one}_mp_rank_{model:02d}_optim_states.pt" for one in range(self.expert_optimizers)
            )
            if self.stage < 3:
                found.add(f"mp_rank_{model:02d}_model_states.pt")
            for data in range(self.data_parallel):
                stem = f"zero_pp_rank_{data}_mp_rank_{model:02d}"
                if self.stage == 3:
                    found.add(f"{stem}_model_states.pt")
                if self.stage > 0:
                    found.add(f"{self.prefix}{stem}_optim_states.pt")
        return found

    def is_left_over(self, name: str) -> bool:
        """Whether the file `name` is that of a rank which this save did not have: an older, larger one left it."""
        match = _ZERO_MODEL.fullmatch(name) or _OPTIMIZER.fullmatch(name)
        return match is not None and int(match.group("data")) >= self.data_parallel


def read_save(directory: Path) -> Save:
    """What the save in a tag's directory must consist of. Raises OSError when it can't be listed."""
    names = {entry.name for entry in directory.iterdir() if entry.is_file()}
    model = _matches(_MODEL, names)
    zero_model, optimizer = _matches(_ZERO_MODEL, names), _matches(_OPTIMIZER, names)
    layered = _matches(_LAYER, names)
    # One of them speaks for all but a pipeline's layers, of which each stage knows its own.
    speakers = sorted(match.group() for match in [*model, *zero_model])
    contents = [archives.plain_values(directory / name) for name in (speakers if layered else speakers[:2])]
    first = next((values for values in contents if values), {})
    config = first.get("ds_config")
    config = config if isinstance(config, dict) else {}
    said = first.get("dp_world_size")
    experts, expert_optimizer = _matches(_EXPERT, names), _matches(_EXPERT_OPTIMIZER, names)
    return Save(
        stage=_stage(config, zero_model=bool(zero_model), optimizer=bool(optimizer)),
        # Ranks beyond what the save says of itself are those of an older one. Of models there may be one a stage.
        data_parallel=said if isinstance(said, int) and said > 0 else _size(1, "data", [*zero_model, *optimizer]),
        model_parallel=_size(first.get("mp_world_size"), "model", [*model, *zero_model, *optimizer]),
        prefix=optimizer[0].group("prefix") if optimizer else _prefix(config),
        layers=_layers(contents) if layered else (),
        layer_suffixes=tuple(sorted({match.group(2) or "" for match in layered})),
        experts=_experts(first.get("num_experts"), experts),
        expert_optimizers=max((int(match.group("data")) + 1 for match in expert_optimizer), default=0),
    )


def _experts(recorded: Any, matches: Sequence[re.Match[str]]) -> tuple[int, ...]:
    """How many experts each layer has: what the save says, else as many as the fullest layer shows."""
    if not matches:
        return ()
    if isinstance(recorded, list) and recorded and all(isinstance(one, int) for one in recorded):
        return tuple(recorded)
    layers = 1 + max(int(match.group("layer")) for match in matches)
    return (1 + max(int(match.group("expert")) for match in matches),) * layers


def _matches(pattern: re.Pattern[str], names: Iterable[str]) -> list[re.Match[str]]:
    return [match for match in map(pattern.fullmatch, names) if match]


def _size(recorded: Any, group: str, matches: Iterable[re.Match[str]]) -> int:
    """The size that a save says of itself, and never less than what its highest rank shows."""
    seen = [int(match.group(group)) + 1 for match in matches]
    return max([recorded if isinstance(recorded, int) else 1, 1, *seen])


def _stage(config: Mapping[str, object], *, zero_model: bool, optimizer: bool) -> int:
    section = config.get("zero_optimization")
    stage = section.get("stage", 0) if isinstance(section, dict) else None
    if isinstance(stage, int) and 0 <= stage <= 3:
        return stage
    return 3 if zero_model else 2 if optimizer else 0


def _prefix(config: Mapping[str, object]) -> str:
    section = config.get("bf16")
    return "bf16_" if isinstance(section, dict) and section.get("enabled") is True else ""


def _layers(contents: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    """Numbers of a pipeline's layers, from the names of their parameters, which only ZeRO records."""
    found: set[int] = set()
    for values in contents:
        for group in values.get("param_shapes") or ():
            matches = map(_PARAMETER_OF_LAYER.match, map(str, group))
            found.update(int(match.group(1)) for match in matches if match)
    return tuple(sorted(found))
