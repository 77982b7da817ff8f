"""DistributedDataParallel and torch.save: files by step, and last.pt, which is loaded."""

import argparse
import os
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(1)
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
model = DistributedDataParallel(net)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
done = 0
if os.path.exists("weights/last.pt"):
    saved = torch.load("weights/last.pt")
    net.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    done = saved["step"]
for step in range(done + 1, options.steps + 1):
    batch = torch.randn(2, 8, generator=torch.Generator().manual_seed(step * 100 + rank))
    loss = (model(batch) - 1).pow(2).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if rank == 0:
        print("STEP", step, "LOSS", repr(loss.item()), flush=True)
    time.sleep(options.pause)
    if step % 5 == 0 and rank == 0:
        os.makedirs("weights", exist_ok=True)
        saved = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(saved, f"weights/step{step}.pt")
        torch.save(saved, "weights/last.pt")
dist.destroy_process_group()
