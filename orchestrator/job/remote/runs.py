"""Removes the files of a run. What a crash leaves is removed by the same request again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Optional

from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.operations.runs import Removed, RemoveRun
from orchestrator.job.protocol.records import Owner
from orchestrator.job.system.atomic import read_json
from orchestrator.job.system.removal import remove as delete

_OF_DIR = (files.ATTEMPTS, files.PROGRESSED, files.RUN)  # the owner last: without it nothing would be removed
_OF_ROOT = (files.GENERATIONS, files.MODEL, files.REFUSALS, files.OWNER)


def remove(request: RemoveRun) -> Removed:
    """Raises OSError."""
    directory, root = Path(request.dir), Path(request.checkpoint_dir)
    refused = _refusal(request, directory, root)
    if refused is not None or request.dry:
        return Removed(refused)
    if request.checkpoints and directory in root.parents:
        delete(root, missing_ok=True)
    elif request.checkpoints:  # a directory of the user's choice, which may hold more than orch has written
        _delete_all(root, _OF_ROOT)
    if root == directory or read_json(directory / files.RUN) is None:
        _delete_all(directory, _OF_DIR)
    else:
        clear(directory, but=root)
    return Removed(left=str(root) if root.exists() else "")


def clear(directory: Path, *, but: Path) -> None:
    """Deletes a directory except `but`, which may be anywhere. Raises OSError."""
    if directory not in but.parents or not but.exists():
        delete(directory, missing_ok=True)
        return
    for entry in sorted(directory.iterdir(), key=lambda path: path.name == files.RUN):
        if entry != but:
            clear(entry, but=but)


def _delete_all(directory: Path, names: tuple[str, ...]) -> None:
    for name in names:
        delete(directory / name, missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()  # unless it holds something else


def _refusal(request: RemoveRun, directory: Path, root: Path) -> Optional[str]:
    run = read_json(directory / files.RUN)
    if run is not None and run.get("run_id") != request.run_id:
        return f"{directory} holds another run of that name, with the id {run.get('run_id')}"
    if not request.checkpoints or not root.exists():
        return None
    try:
        owner = read(Owner, root / files.OWNER)
    except RecordError:
        owner = None
    if owner is None and directory not in root.parents and (root / files.GENERATIONS).exists():
        return f"the owner of the checkpoints in {root} is unknown: it has no {files.OWNER} that can be read"
    if owner is not None and owner.run_id != request.run_id:
        return f"the checkpoints in {root} are of the run {owner.run} ({owner.run_id}), not of {request.run}"
    return None
