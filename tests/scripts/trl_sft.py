"""TRL's SFTTrainer, with resume_from_checkpoint as the command line says it."""

import argparse
import time

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()


class Pause(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and "loss" in logs:
            print("STEP", state.global_step, "LOSS", repr(logs["loss"]), flush=True)
        time.sleep(options.pause)


torch.manual_seed(1)
words = {"[PAD]": 0, "[EOS]": 1, **{str(number): number for number in range(2, 64)}}
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="[PAD]")), pad_token="[PAD]", eos_token="[EOS]"
)
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
rows = Dataset.from_dict({"input_ids": torch.randint(2, 64, (512, 16)).tolist()})
arguments = SFTConfig(
    output_dir="sft", max_steps=options.steps, save_steps=5, logging_steps=1, use_cpu=True, bf16=False, max_length=16,
    per_device_train_batch_size=2, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
)  # fmt: skip
trainer = SFTTrainer(
    LlamaForCausalLM(LlamaConfig(**sizes)), arguments, train_dataset=rows, processing_class=tokenizer,
    callbacks=[Pause()],
)  # fmt: skip
trainer.train()
