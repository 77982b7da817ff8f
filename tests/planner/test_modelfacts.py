from __future__ import annotations

import json
import os
from collections.abc import Mapping

import pytest

from orchestrator.errors import JobError
from orchestrator.inputs import modelfacts
from orchestrator.model.plan import ModelFacts
from orchestrator.model.spec import Model
from orchestrator.planner.families import FAMILIES, count
from tests.planner.jobs import TINY, llama

COUNT = """
import torch, transformers
answer = []
for config in question:
    full = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(full)
    own = [sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()]
    answer.append([sum(p.numel() for p in model.parameters()), full.num_hidden_layers, max(own)])
"""

DEFAULTS = """
import transformers
answer = {}
for family, aliases in question.items():
    make = transformers.CONFIG_MAPPING[family]
    answer[family] = [make().to_dict(), {key: getattr(make(**{key: 24}), real) for key, real in aliases.items()}]
"""

SMALL = {
    "vocab_size": 512,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
GPT2_SMALL = {"vocab_size": 512, "n_embd": 96, "n_layer": 3, "n_head": 6, "n_positions": 128}
VARIANTS = [
    {"model_type": "llama", **SMALL},
    {"model_type": "llama", **SMALL, "tie_word_embeddings": True},
    {"model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True},
    {"model_type": "llama", **SMALL, "head_dim": 32, "num_key_value_heads": None},
    {"model_type": "mistral", **SMALL},
    {"model_type": "mixtral", **SMALL, "num_local_experts": 4},
    {"model_type": "qwen2", **SMALL},
    {"model_type": "qwen3", **SMALL, "head_dim": 16},
    {"model_type": "phi3", **SMALL, "pad_token_id": 0},
    {"model_type": "gemma", **SMALL},
    {"model_type": "gemma2", **SMALL},
    {"model_type": "gemma2", **SMALL, "tie_word_embeddings": False},
    {"model_type": "olmo2", **SMALL},
    {"model_type": "starcoder2", **SMALL},
    {"model_type": "starcoder2", **SMALL, "use_bias": False},
    {"model_type": "gpt_neox", **SMALL},
    {"model_type": "gpt_neox", **SMALL, "attention_bias": False, "tie_word_embeddings": True},
    {"model_type": "bloom", "vocab_size": 512, "hidden_size": 96, "n_layer": 3, "n_head": 6},
    {"model_type": "opt", **SMALL, "ffn_dim": 200, "word_embed_proj_dim": 96, "max_position_embeddings": 64},
    {"model_type": "opt", **SMALL, "ffn_dim": 200, "word_embed_proj_dim": 48, "do_layer_norm_before": False},
    {"model_type": "opt", **SMALL, "ffn_dim": 200, "enable_bias": False, "layer_norm_elementwise_affine": False},
    {"model_type": "gpt2", **GPT2_SMALL},
    {"model_type": "gpt2", **SMALL},
    {"model_type": "gpt2", **GPT2_SMALL, "n_inner": 100, "tie_word_embeddings": False},
    {"model_type": "gptj", **GPT2_SMALL, "rotary_dim": 8},
    {
        "model_type": "gpt_neo",
        "vocab_size": 512,
        "hidden_size": 96,
        "num_layers": 4,
        "num_heads": 6,
        "attention_types": [[["global", "local"], 2]],
    },
    *({"model_type": family} for family in FAMILIES),
]


def load(model: Model, job_dir: str, environment: Mapping[str, str] = os.environ) -> ModelFacts | None:
    found = modelfacts.find(model, job_dir, environment)
    return modelfacts.facts_of(found.config, found.source) if found is not None else None


def test_counts_equal_those_of_transformers_on_the_meta_device(ask):
    for config, answer in zip(VARIANTS, ask(COUNT, VARIANTS), strict=True):
        facts = count(config, "test")
        assert [facts.parameters, facts.layers, facts.largest_layer] == answer, config


KEPT = """
import torch, transformers
torch.set_num_threads(1)
answer = []
for config in question:
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    weights = {p.untyped_storage().data_ptr() for p in model.to(torch.bfloat16).parameters()}
    kept = {}
    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.base_model(torch.zeros((1, 96), dtype=torch.long))
    answer.append(sum(size for size, _ in kept.values()) / 2)
"""

# Without dropout: a CPU has no fused attention with it, and a GPU has.
TRAINED = [
    {"model_type": "llama", **SMALL},
    {"model_type": "llama", **SMALL, "head_dim": 32},
    {"model_type": "mixtral", **SMALL, "num_local_experts": 4},
    {"model_type": "qwen2", **SMALL},
    {"model_type": "qwen3", **SMALL, "head_dim": 16},
    {"model_type": "phi3", **SMALL, "pad_token_id": 0},
    {"model_type": "gemma", **SMALL, "head_dim": 16},
    {"model_type": "gemma2", **SMALL, "head_dim": 16},
    {"model_type": "olmo2", **SMALL},
    {"model_type": "starcoder2", **SMALL},
    {"model_type": "gpt_neox", **SMALL},
    {"model_type": "bloom", "vocab_size": 512, "hidden_size": 96, "n_layer": 3, "n_head": 6},
    {"model_type": "opt", **SMALL, "ffn_dim": 200, "word_embed_proj_dim": 96, "dropout": 0.0},
    {"model_type": "gpt2", **GPT2_SMALL, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    {"model_type": "gptj", **GPT2_SMALL, "rotary_dim": 8},
]


def deeper(config):
    return {key: value + 1 if key in ("num_hidden_layers", "n_layer") else value for key, value in config.items()}


def test_a_layer_keeps_what_autograd_keeps(ask):
    shallow, deep = ask(KEPT, TRAINED), ask(KEPT, [deeper(config) for config in TRAINED])
    for config, few, many in zip(TRAINED, shallow, deep, strict=True):
        facts = count(config, "test")
        expected = 96 * (facts.kept + facts.scores * facts.heads * 96)
        assert 0.9 <= expected / (many - few) <= 1.3, (config, expected / (many - few))


def test_defaults_are_those_of_transformers(ask):
    question = {name: dict(family.aliases) for name, family in FAMILIES.items()}
    for name, (theirs, aliased) in ask(DEFAULTS, question).items():
        family = FAMILIES[name]
        for key, value in family.defaults.items():
            assert value is None or theirs[key] == value, (name, key)
        assert set(aliased.values()) <= {24}, name


@pytest.mark.parametrize(
    ("size", "parameters"), [("7b", 6_738_415_616), ("13b", 13_015_864_320), ("70b", 68_976_648_192)]
)
def test_the_sizes_of_llama_2(size, parameters):
    assert llama(size).parameters == parameters


def test_an_inline_config_is_counted():
    facts = load(Model(config=TINY), "/nowhere")
    assert (facts.vocabulary, facts.layers, facts.hidden, facts.heads) == (259, 2, 64, 4)


def test_a_directory_is_read_relative_to_the_job(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(TINY))
    facts = load(Model(path="model"), str(tmp_path))
    assert facts.layers == 2
    assert facts.source == str(tmp_path / "model" / "config.json")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(JobError) as caught:
        load(Model(path="."), str(tmp_path))
    assert caught.value.field == "model.path"


def test_a_directory_without_a_config_is_refused(tmp_path):
    with pytest.raises(JobError, match=r"no config\.json"):
        load(Model(path="."), str(tmp_path))


def cache(root, repository="org/model", commit="abc123"):
    folder = root / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(TINY))


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
@pytest.mark.parametrize("revision", [None, "abc123"])
def test_a_hub_id_is_read_from_the_local_cache(tmp_path, variable, below, revision):
    cache(tmp_path / below)
    model = Model(path="org/model", revision=revision)
    assert load(model, str(tmp_path), {variable: str(tmp_path)}).layers == 2


def test_a_hub_id_that_is_not_here_is_not_known(tmp_path):
    assert load(Model(path="org/other"), str(tmp_path), {"HF_HOME": str(tmp_path)}) is None
    cache(tmp_path / "hub")
    model = Model(path="org/model", revision="v2")
    assert load(model, str(tmp_path), {"HF_HOME": str(tmp_path)}) is None


OTHER = """
from orchestrator.inputs import modelfacts
facts = modelfacts.facts_of(question, "test")
answer = None if facts is None else [facts.parameters, facts.layers, facts.source]
"""


def test_another_family_is_counted_by_transformers(ask):
    config = {"model_type": "stablelm", **SMALL}
    (expected,) = ask(COUNT, [config])
    assert ask(OTHER, config) == [*expected[:2], "transformers, on the meta device"]


@pytest.mark.parametrize(
    "config",
    [{"model_type": "vit"}, {"model_type": "from_next_year"}, {"model_type": "stablelm", "hidden_size": "big"}],
    ids=str,
)
def test_what_is_no_causal_language_model_here_is_not_known(ask, config):
    assert ask(OTHER, config) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_type": None}, "model.config.model_type"),
        ({"hidden_size": "big"}, "model.config.hidden_size"),
        ({"hidden_size": 0}, "model.config.hidden_size"),
        ({"num_hidden_layers": 2.5}, "model.config.num_hidden_layers"),
        ({"vocab_size": None}, "model.config.vocab_size"),
        ({"tie_word_embeddings": 1}, "model.config.tie_word_embeddings"),
    ],
)
def test_sizes_that_are_no_numbers_are_refused(change, field):
    with pytest.raises(JobError) as caught:
        load(Model(config=TINY | change), "/nowhere")
    assert caught.value.field == field


def test_a_sequence_longer_than_the_learned_positions_is_refused():
    from tests.planner.jobs import facts_of, job, plan

    facts = facts_of({"model_type": "gpt2"})
    assert facts.positions == 1024
    with pytest.raises(JobError) as caught:
        plan(job(sequence_length=2048), facts=facts)
    assert caught.value.field == "data.sequence_length"
