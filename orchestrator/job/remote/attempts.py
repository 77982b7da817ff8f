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

import json
import os
import time
from pathlib import Path
from typing import Any, Mapping

from orchestrator.job.protocol import files
from orchestrator.job.protocol.operations import Done, OnAttempt
from orchestrator.job.protocol.operations.attempts import DeleteSecrets, RequestStop, StopRequested, Upload, Uploaded
from orchestrator.job.system.atomic import create_json, read_json, replacing, write

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def directory(request: OnAttempt[Any]) -> Path:
    """The attempt's directory."""
    return files.attempt_dir(request.dir, request.attempt)


def upload(request: Upload) -> Uploaded:
    """Raises OSError."""
    place = directory(request)
    place.mkdir(parents=True, exist_ok=True)
    refused, job, asked = _refusal(request), job_of(place), is_asked(place)
    if refused or asked:
        return Uploaded(refused, first=False, job=job, asked=asked)
    _write_bundle(request, place / files.BUNDLE)
    _write_secrets(request.secrets, place)
    return Uploaded(None, first=try_once(place), job=job, asked=False)


def request_stop(request: RequestStop) -> StopRequested:
    """Raises OSError."""
    place = directory(request)
    place.mkdir(parents=True, exist_ok=True)
    return StopRequested(create_json(place / files.ASKED, {"time": time.time()}), job_of(place))


def delete_secrets(request: DeleteSecrets) -> Done:
    """Raises OSError."""
    (directory(request) / files.SECRETS).unlink(missing_ok=True)
    return Done()


def try_once(place: Path) -> bool:
    """Record that somebody is about to submit the attempt; True for the first. Raises OSError."""
    try:
        os.close(os.open(place / files.TRIED, _NEW, 0o644))
    except FileExistsError:
        return False
    return True


def job_of(place: Path) -> str | None:
    """The scheduler's job that claimed the attempt."""
    try:
        return (place / files.JOB).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def is_asked(place: Path) -> bool:
    return (place / files.ASKED).exists()


def _refusal(request: Upload) -> str | None:
    path = Path(request.dir) / files.RUN
    mine = {"run": request.run, "run_id": request.run_id}
    owner = read_json(path)
    if owner is None and not create_json(path, mine):
        owner = read_json(path) or {}
    if owner is None or owner.get("run_id") == request.run_id:
        return None
    return f"{request.dir} holds another run of that name, with the id {owner.get('run_id')}"


def _write_bundle(request: Upload, target: Path) -> None:
    if target.exists():
        return
    made = set()
    try:
        with replacing(target, sync=False) as temporary:
            for file in request.files:
                parent = os.path.dirname(f"{temporary}/{file.path}")  # strings: Path would take longer than the disk
                if parent not in made:
                    os.makedirs(parent, exist_ok=True)
                    made.add(parent)
                _write_new(f"{temporary}/{file.path}", file.content, 0o755 if file.executable else 0o644)
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
    for other in place.parent.glob(f"*/{files.SECRETS}"):
        if other.parent.name < place.name:  # of an attempt that is over; a newer one may need them still
            other.unlink(missing_ok=True)
    if not secrets:
        return
    write(place / files.SECRETS, json.dumps(dict(secrets)).encode(), sync=False, mode=0o600)
