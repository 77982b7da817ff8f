"""From a completed transformers config to the parameters of every module, one function a family.

`Linear` layers, norms and embeddings are modules: ZeRO-3 gathers by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def _linear(inputs: int, outputs: int, *, bias: bool = False) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _attention(c: Config, *extra: int, bias: bool = False, output_bias: bool = False) -> Modules:
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    width = c.get("head_dim") or hidden // heads
    keys = (c.get("num_key_value_heads") or heads) * width
    queries = heads * width
    return (
        _linear(hidden, queries, bias=bias),
        _linear(hidden, keys, bias=bias),
        _linear(hidden, keys, bias=bias),
        _linear(queries, hidden, bias=output_bias),
        *extra,
    )


def _gated(c: Config, *, bias: bool = False) -> Modules:
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    return (_linear(hidden, inner, bias=bias), _linear(hidden, inner, bias=bias), _linear(inner, hidden, bias=bias))


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


def llama(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(
        c, (*_attention(c, bias=bias, output_bias=bias), *_gated(c, bias=c["mlp_bias"]), norm, norm), norm=norm
    )


def mistral(c: Config) -> Shape:
    norm = c["hidden_size"]
    return _decoder(c, (*_attention(c), *_gated(c), norm, norm), norm=norm)


def mixtral(c: Config) -> Shape:
    norm, experts = c["hidden_size"], c["num_local_experts"]
    mixture = (experts * sum(_gated(c)), experts * norm)
    return _decoder(c, (*_attention(c), *mixture, norm, norm), norm=norm)


def qwen2(c: Config) -> Shape:
    norm = c["hidden_size"]
    return _decoder(c, (*_attention(c, bias=True), *_gated(c), norm, norm), norm=norm)


def qwen3(c: Config) -> Shape:
    norm, bias, width = c["hidden_size"], c["attention_bias"], c["head_dim"]
    return _decoder(c, (*_attention(c, width, width, bias=bias, output_bias=bias), *_gated(c), norm, norm), norm=norm)


def phi3(c: Config) -> Shape:
    """Query, key and value are one projection, gate and up another."""
    norm = c["hidden_size"]
    query, key, value, output = _attention(c)
    gate, up, down = _gated(c)
    return _decoder(c, (query + key + value, output, gate + up, down, norm, norm), norm=norm)


def gemma(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(c, (*_attention(c, bias=bias, output_bias=bias), *_gated(c), norm, norm), norm=norm)


def gemma2(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    return _decoder(c, (*_attention(c, bias=bias, output_bias=bias), *_gated(c), norm, norm, norm, norm), norm=norm)


def olmo2(c: Config) -> Shape:
    norm, bias = c["hidden_size"], c["attention_bias"]
    width = norm // c["num_attention_heads"]
    keys = (c["num_key_value_heads"] or c["num_attention_heads"]) * width
    norms = (c["num_attention_heads"] * width, keys)
    return _decoder(c, (*_attention(c, *norms, bias=bias, output_bias=bias), *_gated(c), norm, norm), norm=norm)


def starcoder2(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c["use_bias"]
    norm = 2 * hidden
    plain = (_linear(hidden, inner, bias=bias), _linear(inner, hidden, bias=bias))
    return _decoder(c, (*_attention(c, bias=bias, output_bias=bias), *plain, norm, norm), norm=norm)


def gpt_neox(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c["attention_bias"]
    norm = 2 * hidden
    attention = (_linear(hidden, 3 * hidden, bias=bias), _linear(hidden, hidden, bias=bias))
    plain = (_linear(hidden, inner, bias=True), _linear(inner, hidden, bias=True))
    return _decoder(c, (*attention, *plain, norm, norm), norm=norm)


def bloom(c: Config) -> Shape:
    hidden = c["hidden_size"]
    norm = 2 * hidden
    attention = (_linear(hidden, 3 * hidden, bias=True), _linear(hidden, hidden, bias=True))
    plain = (_linear(hidden, 4 * hidden, bias=True), _linear(4 * hidden, hidden, bias=True))
    config = {**c, "num_attention_heads": c["n_head"], "num_hidden_layers": c["n_layer"]}
    return _decoder(config, (*attention, *plain, norm, norm), norm=norm, once=(norm,))


def opt(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["ffn_dim"], c["enable_bias"]
    outer = c["word_embed_proj_dim"] or hidden
    norm = 2 * hidden if c["layer_norm_elementwise_affine"] else 0
    projections = () if outer == hidden else (hidden * outer, hidden * outer)
    last = norm if c["do_layer_norm_before"] and not c["_remove_final_layer_norm"] else 0
    plain = (_linear(hidden, inner, bias=bias), _linear(inner, hidden, bias=bias))
    embedding = c["vocab_size"] * outer
    return Shape(
        embedding=embedding,
        once=((c["max_position_embeddings"] + 2) * hidden, *projections, last),
        layer=(*_attention(c, bias=bias, output_bias=bias), *plain, norm, norm),
        head=None if c["tie_word_embeddings"] else embedding,
        hidden=hidden,
        heads=c["num_attention_heads"],
        layers=c["num_hidden_layers"],
        positions=c["max_position_embeddings"],
    )


def _gpt2_names(c: Config) -> dict[str, Any]:
    names = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
    return {**c, **{ours: c[theirs] for ours, theirs in names.items()}}


def gpt2(c: Config) -> Shape:
    hidden = c["n_embd"]
    inner, norm = c["n_inner"] or 4 * hidden, 2 * hidden
    attention = (_linear(hidden, 3 * hidden, bias=True), _linear(hidden, hidden, bias=True))
    plain = (_linear(hidden, inner, bias=True), _linear(inner, hidden, bias=True))
    places = c["n_positions"]
    layer = (*attention, *plain, norm, norm)
    return _decoder(_gpt2_names(c), layer, norm=norm, positions=places, once=(places * hidden,))


def gptj(c: Config) -> Shape:
    hidden, vocabulary = c["n_embd"], c["vocab_size"]
    inner, norm = c["n_inner"] or 4 * hidden, 2 * hidden
    plain = (_linear(hidden, inner, bias=True), _linear(inner, hidden, bias=True))
    return Shape(
        embedding=vocabulary * hidden,
        once=(norm,),
        layer=(*(hidden * hidden,) * 4, *plain, norm),
        head=vocabulary if c["tie_word_embeddings"] else _linear(hidden, vocabulary, bias=True),
        hidden=hidden,
        heads=c["n_head"],
        layers=c["n_layer"],
    )


def gpt_neo(c: Config) -> Shape:
    hidden = c["hidden_size"]
    inner, norm, places = c["intermediate_size"] or 4 * hidden, 2 * hidden, c["max_position_embeddings"]
    attention = (*(hidden * hidden,) * 3, _linear(hidden, hidden, bias=True))
    plain = (_linear(hidden, inner, bias=True), _linear(inner, hidden, bias=True))
    config = {**c, "num_attention_heads": c["num_heads"], "num_hidden_layers": c["num_layers"]}
    layer = (*attention, *plain, norm, norm)
    return _decoder(config, layer, norm=norm, positions=places, once=(places * hidden,))
