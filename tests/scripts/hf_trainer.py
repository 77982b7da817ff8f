"""transformers.Trainer with an --output_dir of its own, which finds its newest checkpoint itself."""

import argparse
import os
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

parser = argparse.ArgumentParser()
parser.add_argument("--output_dir", default="out")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()


class Pause(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and "loss" in logs:
            print("STEP", state.global_step, "LOSS", repr(logs["loss"]), flush=True)
        time.sleep(options.pause)


set_seed(1)
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
model = LlamaForCausalLM(LlamaConfig(**sizes))
rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (4096, 16))]
arguments = TrainingArguments(
    output_dir=options.output_dir, max_steps=options.steps, save_steps=5, logging_steps=1, use_cpu=True,
    per_device_train_batch_size=2, report_to="none", disable_tqdm=True,
)  # fmt: skip
trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Pause()])
last = get_last_checkpoint(options.output_dir) if os.path.isdir(options.output_dir) else None
trainer.train(resume_from_checkpoint=last)
trainer.save_model()
