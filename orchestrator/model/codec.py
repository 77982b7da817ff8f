"""Runs as JSON and back. The keys are the names of the fields; `orch status --json` shows the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.model.run import Cause, CheckpointRef, Phase, Run, Submission

_RUN_FIELDS = tuple(Run.__dataclass_fields__)
_SUBMISSION_FIELDS = tuple(Submission.__dataclass_fields__)


def submission_to_dict(submission: Submission) -> dict[str, Any]:
    return {**{name: getattr(submission, name) for name in _SUBMISSION_FIELDS}, "exclude": list(submission.exclude)}


def submission_from_dict(value: Mapping[str, Any]) -> Submission:
    known = {name: value[name] for name in _SUBMISSION_FIELDS if name in value}
    return Submission(**{**known, "exclude": tuple(known.get("exclude", ()))})


def checkpoint_to_dict(checkpoint: CheckpointRef) -> dict[str, Any]:
    return {"step": checkpoint.step, "path": checkpoint.path, "proven": checkpoint.proven}


def checkpoint_from_dict(value: Mapping[str, Any]) -> CheckpointRef:
    return CheckpointRef(step=value["step"], path=value["path"], proven=value["proven"])


def run_to_dict(run: Run) -> dict[str, Any]:
    """Every field of a run as plain values."""
    value = {name: getattr(run, name) for name in _RUN_FIELDS}
    value["phase"] = run.phase.value
    value["cause"] = run.cause.value
    value["checkpoint"] = checkpoint_to_dict(run.checkpoint) if run.checkpoint else None
    value["submission"] = submission_to_dict(run.submission) if run.submission else None
    return value


def run_from_dict(value: Mapping[str, Any]) -> Run:
    """The run of `run_to_dict`. Fields that this version does not know are dropped, missing ones take their default."""
    return Run(**fields_from_dict({name: value[name] for name in _RUN_FIELDS if name in value}))


def fields_from_dict(value: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of some fields of a run, as the types of those fields."""
    fields = dict(value)
    if "phase" in fields:
        fields["phase"] = Phase(fields["phase"])
    if "cause" in fields:
        fields["cause"] = Cause(fields["cause"])
    if fields.get("checkpoint"):
        fields["checkpoint"] = checkpoint_from_dict(fields["checkpoint"])
    if fields.get("submission"):
        fields["submission"] = submission_from_dict(fields["submission"])
    return fields


def dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def load(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value
