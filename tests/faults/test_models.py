"""Models as people have them, and what a job that cannot train them says: once, with its cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.lab import Lab, kill

pytestmark = pytest.mark.deepspeed


def gpt2_without_padding(directory: Path) -> None:
    """Random weights, a tokenizer without a padding token, as `save_pretrained` writes them."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from orchestrator.job.training.tokenizer import bytes_tokenizer

    tokenizer = bytes_tokenizer()
    tokenizer.pad_token = None
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "vocab_size": len(tokenizer)}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=256, eos_token_id=256))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.mark.full
def test_a_model_without_a_padding_token_is_trained_killed_and_resumed(lab: Lab) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gpt2_without_padding(lab.jobs / "gpt2")
    run = lab.submit(lab.job(model="./gpt2"))
    lab.until_step(run, 15)
    kill(lab.rank_pids(run)[1])
    assert lab.finish(run)["step"] == 40
    assert len(lab.generations(run)) == 2
    losses = lab.losses(run)
    assert losses[40] < losses[1]
    trained = AutoModelForCausalLM.from_pretrained(lab.checkpoints(run) / "model")
    assert trained.config.model_type == "gpt2"
    assert AutoTokenizer.from_pretrained(lab.checkpoints(run) / "model").pad_token is None


def test_data_that_does_not_suffice_ends_the_run_once_with_its_cause(lab: Lab) -> None:
    (lab.jobs / "text.txt").write_text("too little\n")
    run = lab.submit(lab.job())
    assert lab.orch("wait", run, check=False).returncode == 10
    status = lab.status(run)
    assert (status["phase"], status["cause"], status["attempt"]) == ("failed", "data", 1)
    assert "less than one sequence of 64 (data.sequence_length)" in status["because"]
    assert len(lab.generations(run)) == 1
    assert "data" in lab.orch("status").stdout
