"""How many parameters a model has, from its transformers config, for the common families.

A family is a row: the defaults of its transformers config class that matter, other names of the same keys, and the
function of `shapes` that counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import JobError
from orchestrator.model.plan import ModelFacts
from orchestrator.planner import shapes
from orchestrator.planner.shapes import Config, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`defaults` are those of the transformers config class; None there means: derived from the others."""

    shape: Callable[[Config], Shape]
    defaults: Config
    aliases: Mapping[str, str] = field(default_factory=dict)


def count(config: Config, source: str) -> ModelFacts | None:
    """Sizes of the model of a config; None for a family that is not here. JobError for sizes that are not numbers."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return None
    complete = _complete(family, config)
    shape = family.shape(complete)
    modules = (shape.embedding, *shape.once, *([shape.head] if shape.head else []))
    return ModelFacts(
        parameters=sum(modules) + shape.layers * sum(shape.layer),
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        vocabulary=complete["vocab_size"],
        largest_layer=max(*modules, *shape.layer),
        source=source,
        kept=shape.kept,
        scores=shape.scores,
        positions=shape.positions,
    )


# None is a value of theirs, whatever the default.
_OPTIONAL = frozenset({"head_dim", "num_key_value_heads"})


def _complete(family: Family, config: Config) -> dict[str, Any]:
    known = {family.aliases.get(key, key): value for key, value in config.items()}
    complete = {key: known.get(key, default) for key, default in family.defaults.items()}
    for key, value in complete.items():
        default = family.defaults[key]
        if value is None and (default is None or key in _OPTIONAL):
            continue
        _check(key, value, bool if isinstance(default, bool) else int)
    return complete


def _check(key: str, value: object, wanted: type) -> None:
    if type(value) is wanted and (wanted is bool or value >= 1):  # type: ignore[operator]  # checked just before - an int here
        return
    what = "true or false" if wanted is bool else "a positive whole number"
    raise JobError(f"{value!r} is not {what}", field=f"model.config.{key}")


_GPT2_NAMES = {
    "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}  # fmt: skip


def _usual(vocabulary: int, hidden: int, inner: int, layers: int, heads: int, *, tied: bool, **more: object) -> Config:
    """Defaults under the names that most families share."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": tied,
        **more,
    }


def _gpt2(vocabulary: int, embedding: int, layers: int, heads: int, *, tied: bool, **more: object) -> Config:
    """Defaults under the names of GPT-2."""
    sizes = {"vocab_size": vocabulary, "n_embd": embedding, "n_layer": layers, "n_head": heads, "n_inner": None}
    return {**sizes, "tie_word_embeddings": tied, **more}


_LLAMA_7B = _usual(32000, 4096, 11008, 32, 32, tied=False, num_key_value_heads=None)
_MISTRAL_7B: Config = {**_LLAMA_7B, "intermediate_size": 14336, "num_key_value_heads": 8, "head_dim": None}
_QWEN: Config = {**_LLAMA_7B, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32}
_GEMMA: Config = {"head_dim": 256, "attention_bias": False}
_OPT = {
    "vocab_size": 50272, "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "max_position_embeddings": 2048, "word_embed_proj_dim": None, "do_layer_norm_before": True,
    "_remove_final_layer_norm": False, "enable_bias": True, "layer_norm_elementwise_affine": True,
    "tie_word_embeddings": True,
}  # fmt: skip
_GPT_NEO = {
    "vocab_size": 50257, "hidden_size": 2048, "intermediate_size": None, "max_position_embeddings": 2048,
    "num_layers": 24, "num_heads": 16, "tie_word_embeddings": True,
}  # fmt: skip

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        shape=shapes.llama, defaults={**_LLAMA_7B, "head_dim": None, "attention_bias": False, "mlp_bias": False}
    ),
    "mistral": Family(shape=shapes.mistral, defaults=_MISTRAL_7B),
    "mixtral": Family(
        shape=shapes.mixtral,
        defaults={**_MISTRAL_7B, "num_local_experts": 8, "num_experts_per_tok": 2},
        aliases={"num_experts": "num_local_experts"},
    ),
    "qwen2": Family(shape=shapes.qwen2, defaults=_QWEN),
    "qwen3": Family(shape=shapes.qwen3, defaults={**_QWEN, "head_dim": 128, "attention_bias": False}),
    "phi3": Family(
        shape=shapes.phi3, defaults={**_LLAMA_7B, "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192}
    ),
    "gemma": Family(
        shape=shapes.gemma, defaults=_usual(256000, 3072, 24576, 28, 16, tied=True, num_key_value_heads=16, **_GEMMA)
    ),
    "gemma2": Family(
        shape=shapes.gemma2, defaults=_usual(256000, 2304, 9216, 26, 8, tied=True, num_key_value_heads=4, **_GEMMA)
    ),
    "olmo2": Family(shape=shapes.olmo2, defaults={**_LLAMA_7B, "vocab_size": 50304, "attention_bias": False}),
    "starcoder2": Family(
        shape=shapes.starcoder2,
        defaults=_usual(49152, 3072, 12288, 30, 24, tied=True, num_key_value_heads=2, use_bias=True),
    ),
    "gpt_neox": Family(
        shape=shapes.gpt_neox, defaults=_usual(50432, 6144, 24576, 44, 64, tied=False, attention_bias=True)
    ),
    "bloom": Family(
        shape=shapes.bloom,
        defaults={"vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8, "tie_word_embeddings": True},
        aliases={"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "n_embed": "hidden_size"},
    ),
    "opt": Family(shape=shapes.opt, defaults=_OPT),
    "gpt2": Family(
        shape=shapes.gpt2, defaults=_gpt2(50257, 768, 12, 12, tied=True, n_positions=1024), aliases=_GPT2_NAMES
    ),
    "gptj": Family(shape=shapes.gptj, defaults=_gpt2(50400, 4096, 28, 16, tied=False), aliases=_GPT2_NAMES),
    "gpt_neo": Family(
        shape=shapes.gpt_neo,
        defaults=_GPT_NEO,
        aliases={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
    ),
}
