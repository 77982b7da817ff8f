"""A training loop that knows nothing of orch and records what its steps take: many small ones, some of real size.

Usage: python bench/loop.py RECORD
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

SMALL, LARGE = 6000, 25  # steps


def median_step(width: int, rows: int, steps: int) -> float:
    layers = [torch.nn.Linear(width, width) for _ in range(4)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = torch.randn(rows, width)
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        model(batch).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
    return statistics.median(times[steps // 10 :])


if __name__ == "__main__":
    torch.set_num_threads(1)
    # One optimizer at a time is followed, the first: the small steps are those that are counted.
    medians = {"small": median_step(8, 1, SMALL), "large": median_step(1024, 128, LARGE)}
    Path(sys.argv[1]).write_text(json.dumps(medians))
