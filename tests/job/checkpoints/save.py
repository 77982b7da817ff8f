"""Run by torchrun on two ranks: real saves of DeepSpeed at every stage and of a pipeline, below argv[1]."""

import os
import sys

import deepspeed
import torch
from deepspeed.pipe import LayerSpec, PipelineModule
from torch import nn

from orchestrator.job.training.compiler import leave_out

COMMON = {"train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True}


def zero(stage: int, out: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    dtype = torch.bfloat16 if stage == 2 else torch.float32
    config = {**COMMON, "zero_optimization": {"stage": stage}, "bf16": {"enabled": stage == 2}}
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(model.parameters()), config=config)
    engine.backward(engine(torch.randn(1, 8, dtype=dtype)).sum())
    engine.step()
    engine.save_checkpoint(out)


def pipeline(out: str) -> None:
    layers = [LayerSpec(nn.Linear, 8, 8), torch.relu, LayerSpec(nn.ReLU), LayerSpec(nn.Linear, 8, 8)]
    model = PipelineModule(layers, num_stages=2, loss_fn=nn.functional.mse_loss)
    config = {**COMMON, "gradient_accumulation_steps": 2, "zero_optimization": {"stage": 1}}
    engine, *_ = deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(model.parameters()), config=config)
    engine.train_batch(iter([(torch.randn(1, 8), torch.randn(1, 8)) for _ in range(4)]))
    engine.save_checkpoint(out)


if __name__ == "__main__":
    deepspeed.init_distributed("gloo")
    leave_out({})
    for number in range(4):
        zero(number, f"{sys.argv[1]}/stage-{number}")
    pipeline(f"{sys.argv[1]}/pipeline")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
