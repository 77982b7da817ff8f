"""orch-commit.json: the size and SHA-256 of every file of a checkpoint, written when all of them are on the disk."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Iterable, Mapping, Union

from orchestrator.job.system.atomic import fsync_directory, read_json, write_json

NAME = "orch-commit.json"
FORMAT = 1
THREADS = 8
_BLOCK = 4 * 1024 * 1024  # bytes per read


def hash_file(path: Path, *, sync: bool = False) -> dict[str, Any]:
    """{"size", "sha256"} of one file, after an fsync of it with `sync`. Raises OSError."""
    total, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        if sync:
            os.fsync(file.fileno())
        while block := file.read(_BLOCK):
            total.update(block)
            size += len(block)
    return {"size": size, "sha256": total.hexdigest()}


def hash_files(
    directory: Union[str, Path], names: Iterable[str], *, threads: int = THREADS
) -> dict[str, dict[str, Any]]:
    """Syncs and hashes files of `directory` by their relative names, and syncs their directories. Raises OSError."""
    base = Path(directory)
    ordered = sorted(names)
    with ThreadPoolExecutor(threads) as pool:
        hashed = dict(pool.map(lambda name: (name, hash_file(base / name, sync=True)), ordered))
    for parent in {(base / name).parent for name in ordered} | {base}:
        fsync_directory(parent)
    return hashed


def write_commit(
    directory: Union[str, Path],
    *,
    step: int,
    generation: int,
    attempt: int,
    run_id: str,
    world_size: int,
    files: Mapping[str, Mapping[str, Any]],
) -> None:
    """Proves the checkpoint in `directory`: call it once all of its files are hashed and synced. Raises OSError."""
    base = Path(directory)
    commit = {
        "format": FORMAT,
        "step": step,
        "generation": generation,
        "attempt": attempt,
        "run_id": run_id,
        "world_size": world_size,
        "files": files,
        "time": time.time(),
    }
    fsync_directory(base.parent)
    write_json(base / NAME, commit)


def read_commit(directory: Union[str, Path]) -> dict[str, Any] | None:
    """The manifest of a checkpoint; None when it has none, or none that is whole and makes sense."""
    commit = read_json(Path(directory) / NAME)
    if commit is None or not isinstance(commit.get("step"), int) or not isinstance(commit.get("files"), dict):
        return None
    return commit if all(_sensible(name, entry) for name, entry in commit["files"].items()) else None


def digest(directory: Union[str, Path]) -> str | None:
    """SHA-256 of the manifest itself, which is what a claim seals; None when there is none."""
    try:
        return hashlib.sha256((Path(directory) / NAME).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def withdraw(directory: Union[str, Path]) -> None:
    """Takes the proof back, durably: the first act of deleting a checkpoint."""
    path = Path(directory) / NAME
    if path.exists():
        path.unlink()
        fsync_directory(path.parent)


def _sensible(name: str, entry: Any) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and isinstance(entry, dict)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("sha256"), str)
    )
