"""orch-commit.json: the size and SHA-256 of every file of a checkpoint, written when all of them are on the disk.

It lies in the checkpoint's directory. That of a checkpoint which is a single file lies beside it, as
`.NAME.orch-commit.json`.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Iterable, Mapping, Union

from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import NewerFormatError, to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import COMMIT
from orchestrator.job.protocol.records import Commit, FileSum
from orchestrator.job.system.atomic import fsync_directory, write_json

THREADS = 8
_BLOCK = 4 * 1024 * 1024  # bytes per read


def file_of(unit: Union[str, Path]) -> Path:
    """Where the manifest of the checkpoint `unit`, a directory or a file, is or would be."""
    path = Path(unit)
    return path / COMMIT if path.is_dir() else path.with_name(f".{path.name}.{COMMIT}")


def base_of(unit: Union[str, Path]) -> Path:
    """The directory that the names in its manifest are relative to."""
    path = Path(unit)
    return path if path.is_dir() else path.parent


def is_of_a_file(name: str) -> bool:
    """Whether `name` is that of a manifest which lies beside a checkpoint that is a single file."""
    return name.startswith(".") and name.endswith(f".{COMMIT}")


def hash_file(path: Path, *, sync: bool = False) -> FileSum:
    """The size and SHA-256 of one file, after an fsync of it with `sync`. Raises OSError."""
    total, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        if sync:
            os.fsync(file.fileno())
        while block := file.read(_BLOCK):
            total.update(block)
            size += len(block)
    return FileSum(size, total.hexdigest())


def hash_files(directory: Union[str, Path], names: Iterable[str], *, threads: int = THREADS) -> dict[str, FileSum]:
    """Syncs and hashes files of `directory` by their relative names, and syncs their directories. Raises OSError."""
    base = Path(directory)
    ordered = sorted(names)
    with ThreadPoolExecutor(threads) as pool:
        hashed = dict(pool.map(lambda name: (name, hash_file(base / name, sync=True)), ordered))
    for parent in {(base / name).parent for name in ordered} | {base}:
        fsync_directory(parent)
    return hashed


def write_commit(
    unit: Union[str, Path],
    *,
    step: int,
    generation: int,
    attempt: int,
    run_id: str,
    world_size: int,
    files: Mapping[str, FileSum],
) -> None:
    """Proves the checkpoint `unit`: call it once all of its files are hashed and synced. Raises OSError.

    The names in `files` are relative to `base_of(unit)`.
    """
    path = Path(unit)
    commit = Commit(
        step=step,
        files=files,
        generation=generation,
        attempt=attempt,
        run_id=run_id,
        world_size=world_size,
        time=time.time(),
    )
    fsync_directory(path.parent)
    write_json(file_of(path), to_json(commit))


def read_commit(unit: Union[str, Path]) -> Commit | None:
    """The manifest of a checkpoint; None when it has none, or none that is whole and makes sense.

    Raises OSError, and NewerFormatError.
    """
    try:
        commit = read(Commit, file_of(unit))
    except NewerFormatError:
        raise
    except RecordError:
        return None
    return commit if commit is not None and all(map(_stays_below, commit.files)) else None


def digest(unit: Union[str, Path]) -> str | None:
    """SHA-256 of the manifest itself, which is what a claim seals; None when there is none."""
    try:
        return hashlib.sha256(file_of(unit).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def withdraw(unit: Union[str, Path]) -> None:
    """Takes the proof back, durably: the first act of deleting a checkpoint."""
    path = file_of(unit)
    if path.exists():
        path.unlink()
        fsync_directory(path.parent)


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
