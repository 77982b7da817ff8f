"""What a finished generation leaves: a model that plain transformers loads, a committed checkpoint, the ranks' word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.checkpoints.verify import verify
from tests.job.training.harness import GLOBAL_BATCH, Job, ds_config

pytestmark = pytest.mark.deepspeed

STEPS = 2
LOAD = """
import sys, torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer
directory, checkpoint = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(directory)
tokenizer = AutoTokenizer.from_pretrained(directory)
text = "naïve façade\\n\\t日本 🙂"
assert tokenizer(text)["input_ids"] == list(text.encode()), tokenizer(text)
assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
assert model.config.eos_token_id == tokenizer.eos_token_id == 256
trained = get_fp32_state_dict_from_zero_checkpoint(checkpoint)
for name, tensor in model.state_dict().items():
    assert torch.equal(tensor.float(), trained[name].to(tensor.dtype).float()), name
assert model.generate(torch.tensor([[65, 66]]), max_new_tokens=2, do_sample=False).shape == (1, 4)
"""
CASES = [
    pytest.param(ds_config(3), "fp32", id="zero3"),
    pytest.param(ds_config(1), "fp32", id="zero1", marks=pytest.mark.full),
    pytest.param(ds_config(2), "fp32", id="zero2", marks=pytest.mark.full),
    pytest.param(ds_config(3, offload=True), "fp32", id="zero3-cpu-offload", marks=pytest.mark.full),
    pytest.param(ds_config(2, precision="bf16"), "bf16", id="zero2-bf16", marks=pytest.mark.full),
    pytest.param(ds_config(3, precision="bf16"), "bf16", id="zero3-bf16", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("config", "precision"), CASES)
def test_the_model_of_every_stage_loads_in_plain_transformers(
    tmp_path: Path, config: dict[str, Any], precision: str
) -> None:
    training = {"precision": precision, "gradient_checkpointing": precision == "bf16"}
    job = Job(tmp_path / "job", config, every_steps=None, job={"steps": STEPS}, training=training)
    log = job.run()

    checkpoint = job.generation_dir / "checkpoints" / f"checkpoint-{STEPS}"
    assert verify(checkpoint).proven
    assert (checkpoint / "model.safetensors").exists() == (config["zero_optimization"]["stage"] < 3)
    load = [sys.executable, "-c", LOAD, str(job.generation_dir / "model"), str(checkpoint)]
    subprocess.run(load, check=True, timeout=120)

    for rank in (0, 1):
        done = json.loads((job.generation_dir / "ranks" / f"rank-{rank}.done.json").read_text())
        assert done == {"rank": rank, "step": STEPS}
    assert json.loads((job.generation_dir / "progress.json").read_text())["state"] == "done"
    line = json.loads((job.generation_dir / "metrics.jsonl").read_text().splitlines()[-1])
    assert (line["attempt"], line["generation"], line["step"]) == (1, 1, STEPS)
    assert line["tokens"] == STEPS * GLOBAL_BATCH * 32
    assert min(line[key] for key in ("seconds", "tokens_per_second", "peak_memory", "learning_rate", "time")) > 0
    assert f"step {STEPS}/{STEPS} loss {line['loss']:.4f}" in log


@pytest.mark.full
def test_a_resume_from_the_last_step_trains_no_more_and_writes_the_model(tmp_path: Path) -> None:
    job = Job(tmp_path / "job", ds_config(2), every_steps=None, job={"steps": STEPS})
    job.run()
    first = (job.generation_dir / "model" / "model.safetensors").read_bytes()
    job.resume = (job.generation_dir / "checkpoints" / f"checkpoint-{STEPS}", STEPS)
    job.run()
    assert (job.generation_dir / "model" / "model.safetensors").read_bytes() == first
    assert not (job.generation_dir / "metrics.jsonl").exists()
