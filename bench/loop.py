"""A training loop that knows nothing of orch and records what its steps take: many small ones, some of real size.

Usage: python bench/loop.py RECORD
"""

import json
import sys
import time
from pathlib import Path

import torch

SMALL, LARGE = 4000, 20  # steps


def seconds_of_a_step(width: int, rows: int, steps: int, block: int) -> float:
    """CPU time of this thread in the fastest block: other processes of the machine would drown what is looked for."""
    model = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = torch.randn(rows, width)
    blocks = []
    for _ in range(steps // block):
        started = time.thread_time()
        for _ in range(block):
            model(batch).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        blocks.append((time.thread_time() - started) / block)
    return min(blocks)


if __name__ == "__main__":
    torch.set_num_threads(1)
    # One optimizer at a time is followed, the first: the small steps are those that are counted.
    seconds = {"small": seconds_of_a_step(8, 1, SMALL, 100), "large": seconds_of_a_step(1024, 128, LARGE, 4)}
    Path(sys.argv[1]).write_text(json.dumps(seconds))
