"""The directory of an attempt: its bundle, who tried to hand it over, which job claimed it, who asked it to stop.

attempts/000001/
    bundle/        the job's files
    secrets.json   0600: secrets of kind env, for the agents; only where a scheduler takes the job elsewhere
    tried          somebody was about to hand this attempt over
    job            the scheduler's job that claimed the attempt, written by the job itself
    asked.json     written by the first cancel: from then on nothing is started here
    ended-0.json   written by node 0's agent as its last act
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any, Mapping

from orchestrator.job.system.atomic import create_json, read_json, replacing, write

SECRETS = "secrets.json"
TRIED = "tried"
JOB = "job"
ASKED = "asked.json"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def directory(request: Mapping[str, Any]) -> Path:
    """The attempt's directory."""
    return Path(request["dir"]) / "attempts" / f"{request['attempt']:06d}"


def place(request: Mapping[str, Any]) -> dict[str, Any]:
    """Lays an attempt down: `files` ([path, executable, bytes]) as its bundle, whole or not at all, and `secrets`.

    `refused` says why not, when the run's directory is another run's. `first`: nobody has tried to hand this attempt
    over before. Raises OSError.
    """
    place = directory(request)
    place.mkdir(parents=True, exist_ok=True)
    state = {"refused": _refusal(request), "first": False, "job": job_of(place), "asked": is_asked(place)}
    if state["refused"] or state["asked"]:
        return state
    _write_bundle(request["files"], place / "bundle")
    _write_secrets(request.get("secrets") or {}, place)
    state["first"] = try_once(place)
    return state


def ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves word that the attempt shall end; `first` when nobody did before. Raises OSError."""
    place = directory(request)
    place.mkdir(parents=True, exist_ok=True)
    first = create_json(place / ASKED, {"time": time.time()})
    return {"first": first, "job": job_of(place)}


def forget(request: Mapping[str, Any]) -> None:
    """Removes the secrets of an attempt that is over. Raises OSError."""
    (directory(request) / SECRETS).unlink(missing_ok=True)


def try_once(place: Path) -> bool:
    """Records that somebody is about to hand the attempt over; True for the first. Raises OSError."""
    try:
        os.close(os.open(place / TRIED, _NEW, 0o644))
    except FileExistsError:
        return False
    return True


def job_of(place: Path) -> str | None:
    """The scheduler's job that claimed the attempt."""
    try:
        return (place / JOB).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def is_asked(place: Path) -> bool:
    return (place / ASKED).exists()


def _refusal(request: Mapping[str, Any]) -> str | None:
    path = Path(request["dir"]) / "run.json"
    mine = {"run": request["run"], "run_id": request["run_id"]}
    owner = read_json(path)
    if owner is None and not create_json(path, mine):
        owner = read_json(path) or {}
    if owner is None or owner.get("run_id") == request["run_id"]:
        return None
    return f"{request['dir']} holds another run of that name, with the id {owner.get('run_id')}"


def _write_bundle(files: Any, target: Path) -> None:
    if target.exists():
        return
    made = set()
    try:
        with replacing(target, sync=False) as temporary:
            for name, executable, content in files:
                parent = os.path.dirname(f"{temporary}/{name}")  # strings: Path would take longer than the disk
                if parent not in made:
                    os.makedirs(parent, exist_ok=True)
                    made.add(parent)
                data = content if isinstance(content, bytes) else base64.b64decode(content)
                _write_new(f"{temporary}/{name}", data, 0o755 if executable else 0o644)
    except OSError:
        if not target.exists():  # else another caller has written the same files
            raise


def _write_new(path: str, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _NEW, mode)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def _write_secrets(secrets: Mapping[str, str], place: Path) -> None:
    for other in place.parent.glob(f"*/{SECRETS}"):
        if other.parent.name < place.name:  # of an attempt that is over; a newer one may need them still
            other.unlink(missing_ok=True)
    if not secrets:
        return
    write(place / SECRETS, json.dumps(dict(secrets)).encode(), sync=False, mode=0o600)
