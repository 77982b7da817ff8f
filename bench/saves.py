"""What a proven save costs over a plain one: hashing, fsync and the commit manifest, over DeepSpeed's own writing.

Usage: python bench/saves.py
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from measure import Row, table
from trainings import Training

SAVES = 6
OPTIONS = ["--hidden", "768", "--layers", "6", "--batch", "1", "--sequence", "32"]  # 52 million parameters
EVERY = 2


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as directory:
        options = [*OPTIONS, "--steps", str(SAVES * EVERY), "--save-every", str(EVERY)]
        training = Training(place=Path(directory), options=options)
        training.under_orch("saves", every=EVERY)
        saves = training.events("save")[1:]
        newest = max((training.place / "home" / "runs" / "saves").rglob("orch-commit.json"), key=modified).parent
        size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    plain = statistics.median(save["seconds"] for save in saves)
    proven = statistics.median(save["seconds"] + save["commit_seconds"] for save in saves)
    return [
        Row(
            figure=f"a proven save, {size / 2**20:,.0f} MiB",
            measured=f"{proven:.2f} s",
            baseline=f"{plain:.2f} s (DeepSpeed's save alone)",
            ratio=proven / plain,
        )
    ]


def modified(path: Path) -> float:
    return path.stat().st_mtime


if __name__ == "__main__":
    print(table(measure()))
