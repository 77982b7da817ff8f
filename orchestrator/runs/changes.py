"""What differs between a run's job as it was submitted and as it is now, and which of that a run may go on with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import JobError, StoreError
from orchestrator.job.protocol.encoding import parse, to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.system import atomic
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Run
from orchestrator.policy.attempts import submission_of
from orchestrator.runs.dispatch import stored_bundle
from orchestrator.runs.prepare import Prepared

CODE = "code/"
SHOWN = 8  # files and keys in one message
# A key stands for all below it.
MAY_CHANGE = (
    "run",
    "code",
    "instrument",
    "launcher",
    "env",
    "training.steps",
    "training.learning_rate",
    "training.log_every",
    "training.args",
    "checkpoint.every",
    "checkpoint.keep",
    "restart",
)
_REASONS = {
    "model": "the checkpoints are of the model as it was",
    "tokenizer": "the model was trained on the tokens of the one that it has",
    "data": "the place in the data that a checkpoint holds is a place in the data as they were",
    "training": "the place in the data and the state of the optimizer in a checkpoint depend on it",
    "deepspeed": "how a checkpoint is divided among ranks and files depends on it",
    "resources": "a checkpoint has a part of the optimizer's state for each rank that there was",
    "checkpoint": "the run's checkpoints are in the directory that it has",
    "secrets": "which secrets a run reads is recorded once, when it is submitted",
    "cluster": "the run's checkpoints are on the cluster that it has",
}
_UNKNOWN = "job.yaml"  # a run of an older version, whose job was not kept
_CHOSEN = "job_kind"  # of a profile: where it says none, the cluster's answer is kept
_UNSHOWN = ("env", "secrets")  # a name is told, a value never


@dataclass(frozen=True, slots=True)
class Kept:
    """What a bundle was made from, kept beside it: the job as `specfile.canonical` writes it, the cluster's profile."""

    job: str
    job_dir: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """`keys`: of the job, with a sentence for each; `files`: of the code snapshot, likewise. Nothing: the same job."""

    keys: Mapping[str, str]
    files: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.keys or self.files)

    def __str__(self) -> str:
        parts = [*self.keys.values(), *self.files.values()]
        more = len(parts) - SHOWN
        return "; ".join(parts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def keep(prepared: Prepared, run_dir: Path) -> None:
    """Keep the job of a staged bundle beside it. Raises StoreError."""
    from orchestrator.config import specfile

    profile = json.dumps(to_json(prepared.cluster.profile), sort_keys=True)
    text = json.dumps(to_json(Kept(specfile.canonical(prepared.spec), prepared.job_dir, profile)))
    try:
        atomic.write(_place(run_dir, prepared.bundle.digest), text.encode(), sync=False)
    except OSError as error:
        raise StoreError(f"the job cannot be written to {run_dir}: {error.strerror}") from error


def changes(home: Path, run: Run, prepared: Prepared) -> Changes:
    """What differs between the job of a run's newest attempt and another of the same name. Raises JobError."""
    submission = submission_of(run)
    keys = dict[str, str]()
    if run.spec_digest != prepared.spec_digest:
        keys = _keys(_kept(home / "runs" / run.name, submission.digest), prepared)
    if run.cluster != prepared.cluster.name:
        keys["cluster"] = f"it runs on another cluster: {run.cluster} -> {prepared.cluster.name}"
    before, now = _code(stored_bundle(home, submission)), _code(prepared.bundle)
    return Changes(keys, dict(_files(before, now)))


def refuse_what_must_stay(name: str, found: Changes) -> None:
    """Raises JobError where a run cannot go on from its checkpoints with the changes."""
    for key in found.keys:
        if key != _UNKNOWN and not _may_change(key):
            reason = _REASONS.get(key.split(".", 1)[0], "the run's checkpoints depend on it")
            raise JobError(
                f"{name} cannot go on with another {key} ({found.keys[key]}): {reason}",
                hint=f"--name NAME starts another run; what may change is {', '.join(MAY_CHANGE)}",
                field=None if key == "cluster" else key,
            )


def _may_change(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in MAY_CHANGE)


def _place(run_dir: Path, digest: str) -> Path:
    return run_dir / f"bundle-{digest[:12]}.job.json"


def kept(home: Path, run: Run) -> Kept | None:
    """What the bundle of a run's newest attempt was made from; None for a run of an older version. Raises JobError."""
    return _kept(home / "runs" / run.name, submission_of(run).digest)


def profile_changes(before: str, profile: Profile) -> list[str]:
    """A sentence for each key of a cluster's profile that is another than it was."""
    old = dict(_leaves(json.loads(before)))
    new = dict(_leaves(json.loads(json.dumps(to_json(profile)))))
    if new.get(_CHOSEN) is None:
        new[_CHOSEN] = old.get(_CHOSEN)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [_sentence(key, old.get(key), new.get(key)) for key in keys]


def code_of(bundle: Bundle) -> tuple[File, ...]:
    """The code snapshot of a bundle."""
    return tuple(_code(bundle).values())


def _kept(run_dir: Path, digest: str) -> Kept | None:
    place = _place(run_dir, digest)
    try:
        return parse(Kept, place.read_bytes(), str(place))
    except FileNotFoundError:
        return None
    except (OSError, RecordError) as error:
        raise JobError(f"the job that {run_dir.name} was made from cannot be read: {error}") from error


def _keys(found: Kept | None, prepared: Prepared) -> dict[str, str]:
    from orchestrator.config import specfile

    if found is None:
        return {_UNKNOWN: "job.yaml is another than it was"}
    job = found.job
    with contextlib.suppress(JobError):  # it has a key that this version does not know
        job = specfile.canonical(specfile.restore(job))  # with the defaults of this version
    before = dict(_leaves(json.loads(job)))
    now = dict(_leaves(json.loads(specfile.canonical(prepared.spec))))
    different = {
        key: _sentence(key, before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    }
    return different or {_UNKNOWN: "job.yaml, or a file that it names, is another than it was"}


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, child in value.items():
        if isinstance(child, dict):
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", child


def _sentence(key: str, before: object, now: object) -> str:
    if key.split(".", 1)[0] in _UNSHOWN:
        return f"{key} is {'new' if before is None else 'gone' if now is None else 'changed'}"
    return f"{key}: {_shown(before)} -> {_shown(now)}"


def _shown(value: object) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)


def _code(bundle: Bundle) -> dict[str, File]:
    return {file.path[len(CODE) :]: file for file in bundle.files if file.path.startswith(CODE)}


def _files(before: Mapping[str, File], now: Mapping[str, File]) -> Iterator[tuple[str, str]]:
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            how = "is new" if path not in before else "is gone" if path not in now else "changed"
            yield path, f"{path} {how}"
