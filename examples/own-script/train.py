"""Your own script with the Hugging Face Trainer and DeepSpeed, under orch: three lines are marked.

Run by orch (see job.yaml) or by hand:  torchrun --nproc-per-node 2 train.py --max-steps 20 --deepspeed ds_config.json
"""

import argparse
import os
import sysconfig
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from orchestrator.training import OrchCallback  # 1: travels with the job

LENGTH = 64


class Sources(Dataset):
    """The standard library's own modules, cut into rows of bytes."""

    def __init__(self) -> None:
        library = Path(sysconfig.get_paths()["stdlib"])
        text = b"".join((library / name).read_bytes() for name in ("argparse.py", "inspect.py", "tarfile.py"))
        self.rows = torch.frombuffer(bytearray(text[: len(text) // LENGTH * LENGTH]), dtype=torch.uint8).view(
            -1, LENGTH
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.rows[index].long()
        return {"input_ids": row, "labels": row}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-steps", type=int, default=40)
    # The configuration that orch has checked and rendered; None trains without DeepSpeed.
    parser.add_argument("--deepspeed", default=os.environ.get("ORCH_DS_CONFIG"))
    options = parser.parse_args()

    arguments = TrainingArguments(
        output_dir="out",
        deepspeed=options.deepspeed,
        max_steps=options.max_steps,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",  # OrchCallback saves when `checkpoint.every` of job.yaml says so
        seed=1,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
    )
    set_seed(arguments.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    callbacks = [OrchCallback()]  # 2: stops, saves and commits together with orch
    trainer = Trainer(model=model, args=arguments, train_dataset=Sources(), callbacks=callbacks)
    trainer.train(resume_from_checkpoint=os.environ.get("ORCH_RESUME_FROM"))  # 3: goes on where it was


if __name__ == "__main__":
    main()
