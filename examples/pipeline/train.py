"""Pipeline parallelism with DeepSpeed: a small language model in two stages, on two ranks.

Run by orch (see job.yaml) or by hand:  torchrun --nproc-per-node 2 train.py --steps 20
"""

import argparse
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.pipe import LayerSpec, PipelineModule
from torch import nn
from torch.nn import functional

from orchestrator.training import Session

HIDDEN, LENGTH, VOCABULARY = 64, 64, 256
HERE = Path(__file__).parent


class Block(nn.Module):
    """Attention over what came before, then a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.attention = nn.MultiheadAttention(HIDDEN, 4, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(HIDDEN, 4 * HIDDEN), nn.GELU(), nn.Linear(4 * HIDDEN, HIDDEN))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        future = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=x.device).triu(1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=future, need_weights=False)[0]
        return x + self.feed(self.norm2(x))


def next_byte_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def batches(micro_batch: int, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Micro-batches of text, always the same ones in the same order, from number `first` on."""
    text = (Path(sysconfig.get_paths()["stdlib"]) / "argparse.py").read_bytes()
    number = first
    while True:
        # Its own generator per batch: to go on from number n nobody has to draw the n before it.
        generator = torch.Generator().manual_seed(number)
        starts = torch.randint(len(text) - LENGTH - 1, (micro_batch,), generator=generator).tolist()
        rows = torch.tensor([list(text[start : start + LENGTH + 1]) for start in starts])
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps

    session = Session.start()  # first of all: from here on the agent can ask to stop
    deepspeed.init_distributed(dist_backend=get_accelerator().communication_backend_name())
    torch.manual_seed(1)
    layers = [
        LayerSpec(nn.Embedding, VOCABULARY, HIDDEN),
        *[LayerSpec(Block)] * 4,
        LayerSpec(nn.Linear, HIDDEN, VOCABULARY),
    ]
    model = PipelineModule(layers, num_stages=2, loss_fn=next_byte_loss, partition_method="uniform")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    config = os.environ.get("ORCH_DS_CONFIG", str(HERE / "ds_config.json"))
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)

    if session.resume_from:
        engine.load_checkpoint(session.resume_from)
    step = session.resume_step
    # DeepSpeed does not move the data forward: a step takes as many micro-batches as it accumulates.
    data = batches(engine.train_micro_batch_size_per_gpu(), first=step * engine.gradient_accumulation_steps())
    while step < steps:
        loss = engine.train_batch(data_iter=data)
        step += 1
        leave = session.step(step, steps, loss=loss, tokens=step * engine.train_batch_size() * LENGTH)
        if session.active and (session.save_due or leave or step == steps):
            directory = f"{session.checkpoint_dir}/checkpoint-{step}"
            engine.save_checkpoint(directory)
            session.commit(directory, step)
        if leave:
            session.stopped(step)  # does not return
    session.done(step)  # does not return under orch


if __name__ == "__main__":
    main()
