"""The table of transformers' models is what the installed transformers says, and real configurations pass."""

from __future__ import annotations

import runpy

import pytest

from orchestrator.config import specfile
from orchestrator.planner import check_model
from orchestrator.planner.modelcheck import table
from tests.planner.jobs import TINY

JOB = b"{name: t, model: {path: some/model}, data: {files: a.txt, sequence_length: 64}, training: {steps: 1}}"


@pytest.mark.full  # it imports every configuration of transformers
def test_the_table_is_up_to_date() -> None:
    assert runpy.run_path("tools/modelkeys.py")["main"](["--check"]) == 0


@pytest.mark.full
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "qwen3", "gemma3_text", "opt", "bloom", "mpt", "phi3"])
def test_what_transformers_writes_is_taken(kind: str) -> None:
    from transformers import AutoConfig

    written = AutoConfig.for_model(kind).to_dict()
    notes = check_model(specfile.parse(JOB, "job.yaml"), written)
    assert notes.problems == ()
    assert notes.warnings == ()


def test_a_model_with_code_of_its_own_may_be_of_any_type() -> None:
    spec = specfile.parse(JOB, "job.yaml")
    own = {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}
    assert check_model(spec, own).problems == ()
    assert "knows no qwen9" in str(check_model(spec, {"model_type": "qwen9"}).warnings)
    assert "knows no mine" in str(check_model(spec, {"model_type": "mine"}).warnings)


def test_keys_of_a_file_are_not_checked_and_its_sizes_are() -> None:
    spec = specfile.parse(JOB, "job.yaml")
    assert check_model(spec, {**TINY, "hiden_size": 1}).problems == ()
    [problem] = check_model(spec, {"model_type": "llava_next", "text_config": {}}).problems
    assert problem.field == "model.path"
    [problem] = check_model(spec, {**TINY, "max_position_embeddings": 32}).problems
    assert problem.field == "data.sequence_length"


def test_every_causal_model_has_keys() -> None:
    assert {"llama", "gpt2", "qwen2_moe", "mamba"} <= table().causal.keys()
    assert all(table().causal.values())
    assert not table().causal.keys() & table().others
