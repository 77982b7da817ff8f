"""A SIGTERM to one agent saves on all ranks at the next step boundary; the attempt was asked to stop, not failed."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable

import pytest

from tests.faults.lab import MODEL, Lab, kill

pytestmark = pytest.mark.deepspeed

SLOW_SAVE = """
import os, time
from transformers import AutoConfig, AutoModelForCausalLM, HfArgumentParser, Trainer, TrainingArguments
from orchestrator.training import OrchCallback
import torch

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, index):
        ids = torch.arange(index, index + 32) % 320
        return {"input_ids": ids, "labels": ids.clone()}

class SlowTrainer(Trainer):
    def _save_checkpoint(self, *args, **kwargs):
        time.sleep(SECONDS)
        super()._save_checkpoint(*args, **kwargs)

model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**MODEL))
arguments = TrainingArguments(
    output_dir=os.environ["ORCH_CHECKPOINT_DIR"], deepspeed=os.environ["ORCH_DS_CONFIG"], max_steps=60,
    save_strategy="no",
    per_device_train_batch_size=2, logging_steps=1, report_to=[], use_cpu=True, learning_rate=1e-3, disable_tqdm=True,
)
trainer = SlowTrainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[OrchCallback()])
trainer.train(resume_from_checkpoint=os.environ.get("ORCH_RESUME_FROM"))
"""


@pytest.mark.full  # tests/job/agent asks an agent, Slurm's preemption a training
def test_sigterm_to_one_agent_saves_on_all_ranks_and_does_not_count_as_a_failure(
    lab: Lab, undisturbed: Callable[..., dict[int, float]]
) -> None:
    run = lab.submit(lab.job(restart={"max_failures": 0}))
    lab.until_step(run, 13)
    kill(lab.processes("orchestrator.job.agent ", "--node 1")[0], signal.SIGTERM)
    lab.until(lambda: lab.outcomes(run), hint="the outcome of generation 1")
    outcome = lab.outcomes(run)[0]
    assert outcome["result"] == "stopped"
    assert outcome["step"] >= 13
    saved = lab.generations(run)[0] / "checkpoints" / f"checkpoint-{outcome['step']}"
    assert (saved / "orch-commit.json").exists()
    lab.finish(run)
    assert lab.losses(run) == undisturbed()


@pytest.mark.full
def test_a_save_of_45_seconds_is_waited_for(lab: Lab) -> None:
    (lab.jobs / "train.py").write_text(
        textwrap.dedent(SLOW_SAVE).replace("SECONDS", "45").replace("**MODEL", f"**{MODEL!r}")
    )
    job = lab.job(
        model=None, data=None, training=None, run="train.py", code=".", deepspeed={"zero": 2, "config": SLOW_CONFIG}
    )
    run = lab.submit(job)
    lab.until(lambda: lab.step(run)[1] >= 3, hint="three steps")
    kill(lab.processes("orchestrator.job.agent ", "--node 0")[0], signal.SIGTERM)
    lab.until(lambda: lab.outcomes(run), seconds=150, hint="the outcome of generation 1")
    outcome = lab.outcomes(run)[0]
    assert outcome["result"] == "stopped"
    assert (lab.generations(run)[0] / "checkpoints" / f"checkpoint-{outcome['step']}" / "orch-commit.json").exists()
    lab.orch("cancel", run, "--now")


SLOW_CONFIG = {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 1, "train_batch_size": 4}
