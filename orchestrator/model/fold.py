"""A run is a fold over its events: fold(run, event) gives the run after the event. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.job.protocol.encoding import fields_of, from_json
from orchestrator.model.run import Event, EventData, Phase, Progress, Run

# The phase that each kind of event leads to; None: it leaves the phase alone.
KINDS: Mapping[str, Phase | None] = {
    "submitted": Phase.PENDING,  # the run and the intention of its first attempt
    "handed_over": Phase.QUEUED,  # the backend answered with a handle
    "postponed": None,  # the hand-over could not be tried, or the cluster did not answer it
    "queued": Phase.QUEUED,
    "started": Phase.STARTING,  # the attempt's processes exist
    "running": Phase.RUNNING,
    "generation": None,  # a start of the processes: the checkpoint it took, and why not others
    "generation_ended": None,  # why another start of the same attempt was needed
    "noted": None,  # what rank 0 says of a script of the user's own
    "checkpoint": None,  # a newer proven checkpoint
    "stopping": Phase.STOPPING,  # the attempt was asked to stop
    "unreachable": Phase.UNKNOWN,  # nobody could say how the attempt is
    "lost": None,  # the attempt ended without finishing the run
    "resubmitting": Phase.PENDING,  # the intention of another attempt
    "cancel_requested": None,
    "resumed": Phase.PENDING,  # the intention of another attempt, of a run that had ended
    "stopped": Phase.STOPPED,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
REOPENS = "resumed"
_FIELDS = frozenset(Run.__dataclass_fields__) - {"name", "run_id", "submitted_at", "progress"}
_INTENTIONS = frozenset({"submitted", "resubmitting", "resumed"})


def begin(event: Event) -> Run:
    """The run that a `submitted` event begins."""
    return fold(from_json(Run, {**event.data, "name": event.run, "submitted_at": event.at}, "event submitted"), event)


def fold(run: Run, event: Event) -> Run:
    """The run after an event. A run that ended changes by `resumed` only; an unknown kind of event changes nothing."""
    if event.kind not in KINDS or run.phase.ended != (event.kind == REOPENS):
        return run
    run, changes = updated(run, event.data), dict[str, Any]()
    phase = KINDS[event.kind]
    if phase is not None:
        changes["phase"] = phase
        changes["ended_at"] = event.at if phase.ended else None
    if event.kind in _INTENTIONS:
        changes["intended_at"] = event.at
    if event.kind == "cancel_requested":
        changes["cancel_requested"] = True
        changes["cancel_at"] = run.cancel_at if run.cancel_at is not None else event.at
    if event.kind == REOPENS:
        changes.update(cancel_requested=False, cancel_at=None, cancel_now=False, failures=0, first_error=None)
    return dataclasses.replace(run, **changes)


def updated(run: Run, values: EventData) -> Run:
    """The run with the values of its fields, and of its progress, that there are. Raises RecordError."""
    progress = dataclasses.replace(run.progress, **fields_of(Progress, values))
    own = fields_of(Run, {name: value for name, value in values.items() if name in _FIELDS})
    return dataclasses.replace(run, progress=progress, **own)


def replay(events: Iterable[Event]) -> Run | None:
    """The run that a history tells of, None without a `submitted` event."""
    run: Run | None = None
    for event in events:
        if run is not None:
            run = fold(run, event)
        elif event.kind == "submitted":
            run = begin(event)
    return run
