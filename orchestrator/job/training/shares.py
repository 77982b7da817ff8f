"""Which rank reads back which file of a checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Optional

MANIFEST = "orch-commit.json"
# The ranks in the names that DeepSpeed and the Trainer give to a rank's own files.
_OWNER = (re.compile(r"zero_pp_rank_(\d+)_mp_rank_\d+"), re.compile(r"rng_state_(\d+)\.pth$"))


def list_files(directory: str) -> list[tuple[str, int]]:
    """Every file under `directory` but the manifest: relative path with forward slashes, and size in bytes."""
    found = []
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, directory).replace(os.sep, "/")
            if relative != MANIFEST:
                found.append((relative, os.path.getsize(path)))
    return sorted(found)


def deal(files: Sequence[tuple[str, int]], world_size: int) -> list[list[str]]:
    """The files of each rank: its own by name (its machine has them in memory), the others to who has least to read."""
    shares: list[list[str]] = [[] for _ in range(world_size)]
    load = [0] * world_size
    others = []
    for name, size in files:
        owner = _owner(name, world_size)
        if owner is None:
            others.append((size, name))
        else:
            shares[owner].append(name)
            load[owner] += size
    for size, name in sorted(others, reverse=True):
        rank = load.index(min(load))
        shares[rank].append(name)
        load[rank] += size
    return shares


def _owner(name: str, world_size: int) -> Optional[int]:
    for pattern in _OWNER:
        match = pattern.search(name)
        if match and int(match.group(1)) < world_size:
            return int(match.group(1))
    return None
