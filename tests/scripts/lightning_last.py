"""Lightning's Trainer, which goes on from its "last" checkpoint."""

import argparse
import os
import time

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def training_step(self, batch, index):
        seed = (self.global_step + 1) * 100 + self.global_rank
        loss = (self.net(torch.randn(2, 8, generator=torch.Generator().manual_seed(seed))) - 1).pow(2).mean()
        if self.global_rank == 0:
            print("STEP", self.global_step + 1, "LOSS", repr(loss.item()), flush=True)
        time.sleep(options.pause)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


lightning.seed_everything(1)
local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
saving = ModelCheckpoint(dirpath="ckpts", every_n_train_steps=5, save_top_k=-1, save_last=True)
trainer = lightning.Trainer(
    accelerator="cpu", devices=local, num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // local, strategy="ddp",
    max_steps=options.steps, callbacks=[saving], logger=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
rows = torch.utils.data.DataLoader(torch.zeros(4096, 1), batch_size=2)
trainer.fit(Model(), rows, ckpt_path="last" if os.path.isdir("ckpts") else None)
