"""How many parameters a model has, from its transformers config: for the common families, module by module.

A family is a row: the defaults of transformers that matter, other names of the same keys, and a function from the
completed config to the parameters of each module. `Linear` layers, norms and embeddings are modules; ZeRO-3 gathers by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import JobError
from orchestrator.model.plan import ModelFacts

Config = Mapping[str, Any]
Modules = tuple[int, ...]  # parameters of each module


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model cut into what comes once and what comes once a layer. `head` is None when the embedding serves as it."""

    embedding: int
    once: Modules
    layer: Modules
    head: int | None
    hidden: int
    heads: int
    layers: int
    positions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`defaults` are those of the transformers config class; None there means: derived from the others."""

    defaults: Config
    shape: Callable[[Config], Shape]
    aliases: Mapping[str, str] = field(default_factory=dict)


def count(config: Config, source: str) -> ModelFacts | None:
    """Sizes of the model of a config; None for a family that is not here. JobError for sizes that are no numbers."""
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
        positions=shape.positions,
    )


def _complete(family: Family, config: Config) -> dict[str, Any]:
    known = {family.aliases.get(key, key): value for key, value in config.items()}
    complete = {key: known.get(key, default) for key, default in family.defaults.items()}
    for key, value in complete.items():
        wanted = type(family.defaults[key]) if family.defaults[key] is not None else int
        if value is None and (family.defaults[key] is None or key in _OPTIONAL):
            continue
        if type(value) is not wanted or (wanted is int and value < 1):
            what = "true or false" if wanted is bool else "a positive whole number"
            raise JobError(f"{value!r} is not {what}", field=f"model.config.{key}")
    return complete


_OPTIONAL = frozenset({"head_dim", "num_key_value_heads", "intermediate_size", "n_inner"})


def _linear(inputs: int, outputs: int, bias: bool = False) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _attention(c: Config, bias: bool, output_bias: bool, *extra: int) -> Modules:
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    width = c.get("head_dim") or hidden // heads
    keys = (c.get("num_key_value_heads") or heads) * width
    queries = heads * width
    return (
        _linear(hidden, queries, bias),
        _linear(hidden, keys, bias),
        _linear(hidden, keys, bias),
        _linear(queries, hidden, output_bias),
        *extra,
    )


def _gated(c: Config, bias: bool = False) -> Modules:
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    return (_linear(hidden, inner, bias), _linear(hidden, inner, bias), _linear(inner, hidden, bias))


def _decoder(c: Config, layer: Modules, *, norm: int, positions: int | None = None, once: Modules = ()) -> Shape:
    hidden = c["hidden_size"]
    embedding = c["vocab_size"] * hidden
    return Shape(
        embedding=embedding,
        once=(*once, norm),
        layer=layer,
        head=None if c["tie_word_embeddings"] else embedding,
        hidden=hidden,
        heads=c["num_attention_heads"],
        layers=c["num_hidden_layers"],
        positions=positions,
    )


def _llama(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(c, (*_attention(c, bias, bias), *_gated(c, c["mlp_bias"]), norm, norm), norm=norm)


def _mistral(c: Config) -> Shape:
    norm = c["hidden_size"]
    return _decoder(c, (*_attention(c, False, False), *_gated(c), norm, norm), norm=norm)


def _mixtral(c: Config) -> Shape:
    norm, experts = c["hidden_size"], c["num_local_experts"]
    mixture = (experts * sum(_gated(c)), experts * norm)
    return _decoder(c, (*_attention(c, False, False), *mixture, norm, norm), norm=norm)


def _qwen2(c: Config) -> Shape:
    norm = c["hidden_size"]
    return _decoder(c, (*_attention(c, True, False), *_gated(c), norm, norm), norm=norm)


def _qwen3(c: Config) -> Shape:
    norm, bias, width = c["hidden_size"], c["attention_bias"], c["head_dim"]
    return _decoder(c, (*_attention(c, bias, bias, width, width), *_gated(c), norm, norm), norm=norm)


def _phi3(c: Config) -> Shape:
    """Query, key and value are one projection, gate and up another."""
    norm = c["hidden_size"]
    query, key, value, output = _attention(c, False, False)
    gate, up, down = _gated(c)
    return _decoder(c, (query + key + value, output, gate + up, down, norm, norm), norm=norm)


def _gemma(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(c, (*_attention(c, bias, bias), *_gated(c), norm, norm), norm=norm)


def _gemma2(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(c, (*_attention(c, bias, bias), *_gated(c), norm, norm, norm, norm), norm=norm)


def _olmo2(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    width = norm // c["num_attention_heads"]
    keys = (c["num_key_value_heads"] or c["num_attention_heads"]) * width
    norms = (c["num_attention_heads"] * width, keys)
    return _decoder(c, (*_attention(c, bias, bias, *norms), *_gated(c), norm, norm), norm=norm)


def _starcoder2(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c["use_bias"]
    norm = 2 * hidden
    plain = (_linear(hidden, inner, bias), _linear(inner, hidden, bias))
    return _decoder(c, (*_attention(c, bias, bias), *plain, norm, norm), norm=norm)


def _gpt_neox(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c["attention_bias"]
    norm = 2 * hidden
    attention = (_linear(hidden, 3 * hidden, bias), _linear(hidden, hidden, bias))
    plain = (_linear(hidden, inner, True), _linear(inner, hidden, True))
    return _decoder(c, (*attention, *plain, norm, norm), norm=norm)


def _bloom(c: Config) -> Shape:
    hidden = c["hidden_size"]
    norm = 2 * hidden
    attention = (_linear(hidden, 3 * hidden, True), _linear(hidden, hidden, True))
    plain = (_linear(hidden, 4 * hidden, True), _linear(4 * hidden, hidden, True))
    config = {**c, "num_attention_heads": c["n_head"], "num_hidden_layers": c["n_layer"]}
    return _decoder(config, (*attention, *plain, norm, norm), norm=norm, once=(norm,))


def _opt(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["ffn_dim"], c["enable_bias"]
    outer = c["word_embed_proj_dim"]
    norm = 2 * hidden if c["layer_norm_elementwise_affine"] else 0
    projections = () if outer == hidden else (hidden * outer, hidden * outer)
    last = norm if c["do_layer_norm_before"] and not c["_remove_final_layer_norm"] else 0
    plain = (_linear(hidden, inner, bias), _linear(inner, hidden, bias))
    embedding = c["vocab_size"] * outer
    return Shape(
        embedding=embedding,
        once=((c["max_position_embeddings"] + 2) * hidden, *projections, last),
        layer=(*_attention(c, bias, bias), *plain, norm, norm),
        head=None if c["tie_word_embeddings"] else embedding,
        hidden=hidden,
        heads=c["num_attention_heads"],
        layers=c["num_hidden_layers"],
        positions=c["max_position_embeddings"],
    )


def _gpt2_names(c: Config) -> dict[str, Any]:
    names = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
    return {**c, **{ours: c[theirs] for ours, theirs in names.items()}}


def _gpt2(c: Config) -> Shape:
    hidden = c["n_embd"]
    inner, norm = c["n_inner"] or 4 * hidden, 2 * hidden
    attention = (_linear(hidden, 3 * hidden, True), _linear(hidden, hidden, True))
    plain = (_linear(hidden, inner, True), _linear(inner, hidden, True))
    places = c["n_positions"]
    layer = (*attention, *plain, norm, norm)
    return _decoder(_gpt2_names(c), layer, norm=norm, positions=places, once=(places * hidden,))


def _gptj(c: Config) -> Shape:
    hidden, vocabulary = c["n_embd"], c["vocab_size"]
    inner, norm = c["n_inner"] or 4 * hidden, 2 * hidden
    plain = (_linear(hidden, inner, True), _linear(inner, hidden, True))
    return Shape(
        embedding=vocabulary * hidden,
        once=(norm,),
        layer=(*(hidden * hidden,) * 4, *plain, norm),
        head=vocabulary if c["tie_word_embeddings"] else _linear(hidden, vocabulary, True),
        hidden=hidden,
        heads=c["n_head"],
        layers=c["n_layer"],
    )


def _gpt_neo(c: Config) -> Shape:
    hidden = c["hidden_size"]
    inner, norm, places = c["intermediate_size"] or 4 * hidden, 2 * hidden, c["max_position_embeddings"]
    attention = (*(hidden * hidden,) * 3, _linear(hidden, hidden, True))
    plain = (_linear(hidden, inner, True), _linear(inner, hidden, True))
    config = {**c, "num_attention_heads": c["num_heads"], "num_hidden_layers": c["num_layers"]}
    layer = (*attention, *plain, norm, norm)
    return _decoder(config, layer, norm=norm, positions=places, once=(places * hidden,))


def _sizes(vocabulary: int, hidden: int, inner: int | None, layers: int, heads: int, tied: bool) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": tied,
    }


def _gpt2_sizes(vocabulary: int, hidden: int, positions: int, layers: int, heads: int, tied: bool) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "n_embd": hidden,
        "n_positions": positions,
        "n_layer": layers,
        "n_head": heads,
        "n_inner": None,
        "tie_word_embeddings": tied,
    }


_GPT2_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        defaults={
            **_sizes(32000, 4096, 11008, 32, 32, False),
            "num_key_value_heads": None,
            "head_dim": None,
            "attention_bias": False,
            "mlp_bias": False,
        },
        shape=_llama,
    ),
    "mistral": Family(
        defaults={**_sizes(32000, 4096, 14336, 32, 32, False), "num_key_value_heads": 8, "head_dim": None},
        shape=_mistral,
    ),
    "mixtral": Family(
        defaults={
            **_sizes(32000, 4096, 14336, 32, 32, False),
            "num_key_value_heads": 8,
            "head_dim": None,
            "num_local_experts": 8,
        },
        shape=_mixtral,
        aliases={"num_experts": "num_local_experts"},
    ),
    "qwen2": Family(defaults={**_sizes(151936, 4096, 22016, 32, 32, False), "num_key_value_heads": 32}, shape=_qwen2),
    "qwen3": Family(
        defaults={
            **_sizes(151936, 4096, 22016, 32, 32, False),
            "num_key_value_heads": 32,
            "head_dim": 128,
            "attention_bias": False,
        },
        shape=_qwen3,
    ),
    "phi3": Family(defaults={**_sizes(32064, 3072, 8192, 32, 32, False), "num_key_value_heads": None}, shape=_phi3),
    "gemma": Family(
        defaults={
            **_sizes(256000, 3072, 24576, 28, 16, True),
            "num_key_value_heads": 16,
            "head_dim": 256,
            "attention_bias": False,
        },
        shape=_gemma,
    ),
    "gemma2": Family(
        defaults={
            **_sizes(256000, 2304, 9216, 26, 8, True),
            "num_key_value_heads": 4,
            "head_dim": 256,
            "attention_bias": False,
        },
        shape=_gemma2,
    ),
    "olmo2": Family(
        defaults={
            **_sizes(50304, 4096, 11008, 32, 32, False),
            "num_key_value_heads": None,
            "attention_bias": False,
        },
        shape=_olmo2,
    ),
    "starcoder2": Family(
        defaults={**_sizes(49152, 3072, 12288, 30, 24, True), "num_key_value_heads": 2, "use_bias": True},
        shape=_starcoder2,
    ),
    "gpt_neox": Family(defaults={**_sizes(50432, 6144, 24576, 44, 64, False), "attention_bias": True}, shape=_gpt_neox),
    "bloom": Family(
        defaults={
            "vocab_size": 250880,
            "hidden_size": 64,
            "n_layer": 2,
            "n_head": 8,
            "tie_word_embeddings": True,
        },
        shape=_bloom,
        aliases={"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "n_embed": "hidden_size"},
    ),
    "opt": Family(
        defaults={
            "vocab_size": 50272,
            "hidden_size": 768,
            "ffn_dim": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 2048,
            "word_embed_proj_dim": None,
            "do_layer_norm_before": True,
            "_remove_final_layer_norm": False,
            "enable_bias": True,
            "layer_norm_elementwise_affine": True,
            "tie_word_embeddings": True,
        },
        shape=lambda c: _opt({**c, "word_embed_proj_dim": c["word_embed_proj_dim"] or c["hidden_size"]}),
    ),
    "gpt2": Family(defaults=_gpt2_sizes(50257, 768, 1024, 12, 12, True), shape=_gpt2, aliases=_GPT2_ALIASES),
    "gptj": Family(defaults=_gpt2_sizes(50400, 4096, 2048, 28, 16, False), shape=_gptj, aliases=_GPT2_ALIASES),
    "gpt_neo": Family(
        defaults={
            "vocab_size": 50257,
            "hidden_size": 2048,
            "intermediate_size": None,
            "max_position_embeddings": 2048,
            "num_layers": 24,
            "num_heads": 16,
            "tie_word_embeddings": True,
        },
        shape=_gpt_neo,
        aliases={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
    ),
}
