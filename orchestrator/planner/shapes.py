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
    """A model cut into what comes once and what comes once a layer. `head` is None when the embedding serves as it.

    `kept` and `scores` as in ModelFacts, in 16 bits, where the norms keep a copy in fp32; a little high for fp32.
    """

    embedding: int
    once: Modules
    layer: Modules
    head: int | None
    hidden: int
    heads: int
    layers: int
    kept: int
    scores: int = 0
    positions: int | None = None


def _linear(inputs: int, outputs: int, *, bias: bool = False) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _widths(c: Config) -> tuple[int, int]:
    """Of all queries together, and of all keys."""
    heads = c["num_attention_heads"]
    width = c.get("head_dim") or c["hidden_size"] // heads
    return heads * width, (c.get("num_key_value_heads") or heads) * width


def _attention(c: Config, *extra: int, bias: bool = False, output_bias: bool = False) -> Modules:
    hidden = c["hidden_size"]
    queries, keys = _widths(c)
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


def _kept_attention(c: Config) -> int:
    """With RMS norms, rotary positions and fused attention."""
    return 8 * int(c["hidden_size"]) + 2 * sum(_widths(c))


def _kept_gated(c: Config) -> int:
    return _kept_attention(c) + 4 * int(c["intermediate_size"])


def _kept_plain(hidden: int, inner: int) -> int:
    """With layer norms, fused attention and an activation that is one operation."""
    return 9 * hidden + 2 * inner


def _kept_gelu_new(hidden: int, inner: int) -> int:
    """Transformers computes gelu_new in many operations, each of which keeps its input."""
    return 9 * hidden + 11 * inner // 2


def _decoder(c: Config, layer: Modules, **rest: Any) -> Shape:
    """A decoder under the usual names. `rest`: what is not usual of its Shape."""
    hidden = c["hidden_size"]
    embedding = c["vocab_size"] * hidden
    usual = {
        "embedding": embedding,
        "once": (hidden,),
        "layer": layer,
        "head": None if c["tie_word_embeddings"] else embedding,
        "hidden": hidden,
        "heads": c["num_attention_heads"],
        "layers": c["num_hidden_layers"],
    }
    return Shape(**(usual | rest))


def _gated_decoder(c: Config, *extra: int, bias: bool, kept: int = 0, scores: int = 0) -> Shape:
    """Llama and its kin: four projections, a gated unit and two RMS norms a layer, and `extra` modules."""
    norms = (c["hidden_size"],) * 2
    layer = (*_attention(c, bias=bias, output_bias=bias), *_gated(c), *norms, *extra)
    return _decoder(c, layer, kept=_kept_gated(c) + kept, scores=scores)


def llama(c: Config) -> Shape:
    norms, bias = (c["hidden_size"],) * 2, c["attention_bias"]
    layer = (*_attention(c, bias=bias, output_bias=bias), *_gated(c, bias=c["mlp_bias"]), *norms)
    return _decoder(c, layer, kept=_kept_gated(c))


def mistral(c: Config) -> Shape:
    return _gated_decoder(c, bias=False)


def mixtral(c: Config) -> Shape:
    hidden, inner, experts = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    layer = (*_attention(c), experts * sum(_gated(c)), experts * hidden, hidden, hidden)
    each = 4 * inner + 2 * hidden
    return _decoder(c, layer, kept=_kept_attention(c) + c["num_experts_per_tok"] * each)


def qwen2(c: Config) -> Shape:
    norms = (c["hidden_size"],) * 2
    return _decoder(c, (*_attention(c, bias=True), *_gated(c), *norms), kept=_kept_gated(c))


def qwen3(c: Config) -> Shape:
    """Queries and keys are normalized head by head."""
    norms = (c["head_dim"],) * 2
    return _gated_decoder(c, *norms, bias=c["attention_bias"], kept=3 * sum(_widths(c)))


def phi3(c: Config) -> Shape:
    """Query, key and value are one projection, gate and up another."""
    hidden = c["hidden_size"]
    query, key, value, output = _attention(c)
    gate, up, down = _gated(c)
    layer = (query + key + value, output, gate + up, down, hidden, hidden)
    return _decoder(c, layer, kept=_kept_gated(c) + hidden)


def gemma(c: Config) -> Shape:
    return _gated_decoder(c, bias=c["attention_bias"], kept=2 * c["hidden_size"])


def gemma2(c: Config) -> Shape:
    """Four norms a layer, and scores with a soft cap, which fused attention does not have."""
    hidden = c["hidden_size"]
    return _gated_decoder(c, hidden, hidden, bias=c["attention_bias"], kept=12 * hidden, scores=4)


def olmo2(c: Config) -> Shape:
    """Queries and keys are normalized whole, and the norms follow what they normalize."""
    kept = 3 * sum(_widths(c)) + 4 * c["hidden_size"]
    return _gated_decoder(c, *_widths(c), bias=c["attention_bias"], kept=kept)


def _plain(hidden: int, inner: int, *, bias: bool = True) -> Modules:
    """Two projections with an activation between them, and the two layer norms of a layer."""
    norm = 2 * hidden
    return (_linear(hidden, inner, bias=bias), _linear(inner, hidden, bias=bias), norm, norm)


def _joined(hidden: int, *, bias: bool = True) -> Modules:
    """Attention with query, key and value in one projection."""
    return (_linear(hidden, 3 * hidden, bias=bias), _linear(hidden, hidden, bias=bias))


def starcoder2(c: Config) -> Shape:
    hidden, inner, bias = c["hidden_size"], c["intermediate_size"], c["use_bias"]
    layer = (*_attention(c, bias=bias, output_bias=bias), *_plain(hidden, inner, bias=bias))
    return _decoder(c, layer, once=(2 * hidden,), kept=_kept_plain(hidden, inner))


def gpt_neox(c: Config) -> Shape:
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    layer = (*_joined(hidden, bias=c["attention_bias"]), *_plain(hidden, inner))
    return _decoder(c, layer, once=(2 * hidden,), kept=_kept_plain(hidden, inner))


def bloom(c: Config) -> Shape:
    """Its attention is not fused: the scores get a bias by distance."""
    hidden = c["hidden_size"]
    config = {**c, "num_attention_heads": c["n_head"], "num_hidden_layers": c["n_layer"]}
    layer = (*_joined(hidden), *_plain(hidden, 4 * hidden))
    kept = _kept_plain(hidden, 4 * hidden)
    return _decoder(config, layer, once=(2 * hidden, 2 * hidden), kept=kept, scores=3)


def opt(c: Config) -> Shape:
    """The embedding may be narrower than the layers; positions are learned, and two more than there are places."""
    hidden, inner, bias = c["hidden_size"], c["ffn_dim"], c["enable_bias"]
    outer, places = c["word_embed_proj_dim"] or hidden, c["max_position_embeddings"]
    norm = 2 * hidden if c["layer_norm_elementwise_affine"] else 0
    projections = () if outer == hidden else (hidden * outer, hidden * outer)
    last = norm if c["do_layer_norm_before"] and not c["_remove_final_layer_norm"] else 0
    feed_forward = _plain(hidden, inner, bias=bias)[:2]
    layer = (*_attention(c, bias=bias, output_bias=bias), *feed_forward, norm, norm)
    embedding = c["vocab_size"] * outer
    return _decoder(
        c,
        layer,
        embedding=embedding,
        head=None if c["tie_word_embeddings"] else embedding,
        once=((places + 2) * hidden, *projections, last),
        kept=_kept_plain(hidden, inner),
        positions=places,
    )


def _under_usual_names(c: Config) -> dict[str, Any]:
    names = {"hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
    return {**c, **{ours: c[theirs] for ours, theirs in names.items()}}


def gpt2(c: Config) -> Shape:
    hidden, places = c["n_embd"], c["n_positions"]
    inner = c["n_inner"] or 4 * hidden
    layer = (*_joined(hidden), *_plain(hidden, inner))
    once = (places * hidden, 2 * hidden)
    kept = _kept_gelu_new(hidden, inner)
    return _decoder(_under_usual_names(c), layer, once=once, kept=kept, positions=places)


def gptj(c: Config) -> Shape:
    """One norm a layer, no bias in the attention, a bias in the head; a tied head keeps its bias."""
    hidden, vocabulary = c["n_embd"], c["vocab_size"]
    inner = c["n_inner"] or 4 * hidden
    return _decoder(
        _under_usual_names(c),
        (*(hidden * hidden,) * 4, *_plain(hidden, inner)[:3]),
        once=(2 * hidden,),
        head=vocabulary if c["tie_word_embeddings"] else _linear(hidden, vocabulary, bias=True),
        kept=_kept_gelu_new(hidden, inner),
        scores=3,
    )


def gpt_neo(c: Config) -> Shape:
    hidden, places = c["hidden_size"], c["max_position_embeddings"]
    inner = c["intermediate_size"] or 4 * hidden
    config = {**c, "num_attention_heads": c["num_heads"], "num_hidden_layers": c["num_layers"]}
    layer = (*(hidden * hidden,) * 3, _linear(hidden, hidden, bias=True), *_plain(hidden, inner))
    kept = _kept_gelu_new(hidden, inner) + 3 * hidden
    return _decoder(config, layer, once=(places * hidden, 2 * hidden), kept=kept, scores=4, positions=places)
