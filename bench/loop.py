"""A training loop that knows nothing of orch and records what its steps take: many small ones, some of real size.

Usage: python bench/loop.py RECORD
"""

import json
import sys
import time
from pathlib import Path

import torch

SMALL, LARGE = 6000, 25  # steps


def seconds_of_a_step(width: int, rows: int, steps: int) -> float:
    """CPU time of this thread: other processes of the machine would drown what is looked for."""
    model = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = torch.randn(rows, width)
    settling = steps // 10
    for step in range(settling + steps):
        if step == settling:
            started = time.thread_time()
        model(batch).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.thread_time() - started) / steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    # One optimizer at a time is followed, the first: the small steps are those that are counted.
    seconds = {"small": seconds_of_a_step(8, 1, SMALL), "large": seconds_of_a_step(1024, 128, LARGE)}
    Path(sys.argv[1]).write_text(json.dumps(seconds))
