"""The floor: python bench/with_sbatch.py N submits N times with bare sbatch, and prints the seconds it took."""

from __future__ import annotations

import subprocess
import sys
import time

SBATCH = ["sbatch", "--parsable", "--partition=low", "--gres=gpu:1", "--output=/dev/null", "--wrap=true"]


def main(count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        subprocess.run(SBATCH, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
