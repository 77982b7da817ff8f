"""A loop around deepspeed.initialize, with tags of its own and `latest`."""

import argparse
import os
import time

import deepspeed
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--local_rank", type=int, default=-1)
parser.add_argument("--save_dir", default="ckpt")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()
config = {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True}
deepspeed.init_distributed(dist_backend="gloo")
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
engine, *_ = deepspeed.initialize(args=options, model=model, optimizer=optimizer, config=config)
done = 0
if os.path.isdir(options.save_dir):
    path, state = engine.load_checkpoint(options.save_dir)
    done = state["step"] if path else 0
for step in range(done + 1, options.steps + 1):
    batch = torch.randn(2, 8, generator=torch.Generator().manual_seed(step * 100 + engine.global_rank))
    loss = (engine(batch) - 1).pow(2).mean()
    engine.backward(loss)
    engine.step()
    if engine.global_rank == 0:
        print("STEP", step, "LOSS", repr(loss.item()), flush=True)
    time.sleep(options.pause)
    if step % 5 == 0:
        engine.save_checkpoint(options.save_dir, tag=f"step{step}", client_state={"step": step})
