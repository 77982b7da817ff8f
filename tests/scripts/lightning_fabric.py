"""Lightning Fabric: a loop that saves under the step's number and loads the newest."""

import argparse
import os
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()
local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
nodes = int(os.environ.get("WORLD_SIZE", "1")) // local
fabric = Fabric(accelerator="cpu", devices=local, num_nodes=nodes, strategy="ddp")
fabric.launch()
fabric.seed_everything(1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
state = {"model": model, "optimizer": optimizer, "step": 0}
saved = sorted(Path("fabric").glob("step-*.ckpt"), key=lambda path: int(path.stem.partition("-")[2]))
if saved:
    fabric.load(saved[-1], state)
while state["step"] < options.steps:
    state["step"] += 1
    seed = state["step"] * 100 + fabric.global_rank
    loss = (model(torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))) - 1).pow(2).mean()
    fabric.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    fabric.print("STEP", state["step"], "LOSS", repr(loss.item()), flush=True)
    time.sleep(options.pause)
    if state["step"] % 5 == 0:
        fabric.save(f"fabric/step-{state['step']}.ckpt", state)
