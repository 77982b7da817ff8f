"""accelerate with automatic checkpoint naming, which loads the newest checkpoint."""

import argparse
import os
import time

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()


class Count:
    step = 0

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


project = ProjectConfiguration(project_dir="out", automatic_checkpoint_naming=True, total_limit=3)
accelerator = Accelerator(cpu=True, project_config=project)
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
count = Count()
accelerator.register_for_checkpointing(count)
if os.path.isdir("out/checkpoints") and os.listdir("out/checkpoints"):
    accelerator.load_state()
    project.iteration = 1 + max(int(name.rsplit("_", 1)[1]) for name in os.listdir("out/checkpoints"))
while count.step < options.steps:
    count.step += 1
    seed = count.step * 100 + accelerator.process_index
    loss = (model(torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))) - 1).pow(2).mean()
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    accelerator.print("STEP", count.step, "LOSS", repr(loss.item()), flush=True)
    time.sleep(options.pause)
    if count.step % 5 == 0:
        accelerator.save_state()
