"""The sizes of a job's model, read on this machine: an inline config, a directory, or the local Hugging Face cache.

Nothing is downloaded. transformers is imported only for a family that orch cannot count itself, and only where it is
installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.model.plan import ModelFacts
from orchestrator.model.spec import Model
from orchestrator.planner.families import count
from orchestrator.planner.shapes import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundConfig:
    """A model's configuration as transformers reads it, and where it is from."""

    config: Config
    source: str


def find(model: Model, job_dir: str, environment: Mapping[str, str] = os.environ) -> FoundConfig | None:
    """The configuration of a model, None when it cannot be known here. JobError where it cannot be read."""
    if model.config is not None:
        return FoundConfig(config=model.config, source="the job's own config")
    if model.path is None:
        return None
    directory = Path(job_dir, model.path)
    if directory.is_dir():
        return _from_file(directory / "config.json")
    cached = cached_config(model.path, model.revision or "main", environment)
    return _from_file(cached) if cached is not None else None


def facts_of(config: Config, source: str) -> ModelFacts | None:
    """Sizes from a transformers config; JobError when it names no model_type."""
    if not isinstance(config.get("model_type"), str):
        raise JobError(
            "the config names no model_type",
            hint="Add one that transformers knows, as in model_type: llama.",
            field="model.config.model_type",
        )
    return count(config, source) or _count_on_meta_device(config)


def cached_config(repository: str, revision: str, environment: Mapping[str, str]) -> Path | None:
    """config.json of a hub id in the local cache, laid out as huggingface_hub does; None when it is not there."""
    folder = _cache(environment) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (folder / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    path = folder / "snapshots" / commit / "config.json"
    return path if path.is_file() else None


def _cache(environment: Mapping[str, str]) -> Path:
    if cache := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache)
    if home := environment.get("HF_HOME"):
        return Path(home, "hub")
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface", "hub")


def _from_file(path: Path) -> FoundConfig:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise JobError(
            f"there is no config.json in {path.parent}",
            hint="Name a directory that save_pretrained wrote, or a hub id.",
            field="model.path",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(f"{path} cannot be read as JSON: {error}", field="model.path") from error
    if not isinstance(config, dict):
        raise JobError(f"{path} holds no JSON object", field="model.path")
    return FoundConfig(config=config, source=str(path))


def _count_on_meta_device(config: Config) -> ModelFacts | None:
    """Any other family: built without storage by transformers, where that is installed."""
    try:
        import torch
        from huggingface_hub.errors import StrictDataclassError
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError:
        return None
    try:
        full = AutoConfig.for_model(**config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(full)  # type: ignore[no-untyped-call]  # not ours - no types
    except (ValueError, KeyError, TypeError, AttributeError, StrictDataclassError):
        # Any model class may run, and raises one of these for a config that this version of transformers does not take.
        return None
    modules = [sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()]
    text = full.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    return ModelFacts(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        vocabulary=text.vocab_size,
        largest_layer=max(modules),
        kept=12 * text.hidden_size + 4 * inner,  # as for a Llama without grouped queries
        source="transformers, on the meta device",
    )
