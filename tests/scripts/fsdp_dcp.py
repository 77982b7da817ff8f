"""FSDP and torch.distributed.checkpoint: a directory for each save, the newest is loaded."""

import argparse
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
fully_shard(model, mesh=dist.init_device_mesh("cpu", (dist.get_world_size(),)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
done = 0
saved = sorted(Path("dcp").glob("step-*"), key=lambda path: int(path.name.partition("-")[2]))
if saved:
    weights, moments = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=saved[-1])
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    done = int(saved[-1].name.partition("-")[2])
for step in range(done + 1, options.steps + 1):
    batch = torch.randn(2, 8, generator=torch.Generator().manual_seed(step * 100 + rank))
    loss = (model(batch) - 1).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if rank == 0:
        print("STEP", step, "LOSS", repr(loss.item()), flush=True)
    time.sleep(options.pause)
    if step % 5 == 0:
        weights, moments = get_state_dict(model, optimizer)
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=f"dcp/step-{step}")
dist.destroy_process_group()
