"""`orch events`: each recorded fact as a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orchestrator.model.run import Event
from orchestrator.views import nodes, units
from orchestrator.views.reasons import first_error, why
from orchestrator.views.table import Row
from orchestrator.views.text import Paint, plain, wrapped

_ROLES: Mapping[str, str] = {
    "succeeded": "good",
    "failed": "bad",
    "lost": "bad",
    "stopped": "warn",
    "cancelled": "warn",
    "generation_ended": "warn",
    "unreachable": "warn",
    "postponed": "warn",
}


def to_json(event: Event) -> dict[str, object]:
    return {"seq": event.seq, "at": event.at, "run": event.run, "kind": event.kind, "data": dict(event.data)}


def listing(events: Sequence[Event], *, clock: units.Clock, width: int | None, paint: Paint = plain) -> list[str]:
    """Time and sentence, wrapped under itself."""
    return [_line(event, clock(event.at), width, paint) for event in events]


def sentence(event: Event) -> str:
    """What happened, with its reason if one was recorded. An event of an unknown kind is shown as its data."""
    sentence = _SENTENCES.get(event.kind)
    if sentence is None:
        facts = ", ".join(f"{key} {value}" for key, value in event.data.items())
        return f"{event.kind.replace('_', ' ')}{': ' if facts else ''}{facts}"
    return sentence(event.data)


def _line(event: Event, time: str, width: int | None, paint: Paint) -> str:
    lead = len(time) + 2
    body = f"\n{' ' * lead}".join(wrapped(sentence(event), None if width is None else width - lead))
    role = _ROLES.get(event.kind, "")
    return f"{paint(time, 'dim')}  {paint(body, role) if role else body}"


def _because(data: Row) -> str:
    """`: cause: reason`, or the part of it that exists."""
    reason = why(data)
    return f": {reason}" if reason else ""


def _attempt(data: Row) -> str:
    return f"attempt {data['attempt']}" if data.get("attempt") is not None else "the attempt"


def _start(data: Row) -> str:
    if data.get("from_scratch"):
        return ", from scratch"
    return f", from step {data['from_step']}" if data.get("from_step") is not None else ""


def _without(data: Row) -> str:
    """The nodes excluded from the attempt, on a line of their own."""
    found = nodes.excluded(data.get("left_out") or ())
    return f"\n{found}" if found else ""


def _submitted(data: Row) -> str:
    return f"submitted to {data.get('cluster', 'its cluster')}{_start(data)}{_without(data)}"


def _handed_over(data: Row) -> str:
    handle = (data.get("submission") or {}).get("handle") or data.get("handle")
    as_what = f"job {handle}" if str(handle).isdigit() else handle  # a scheduler numbers its jobs
    return f"{_attempt(data)} was handed over" + (f" as {as_what}" if handle else "")


def _generation(data: Row) -> str:
    step = data.get("resumed_step")
    source = "at step 0" if step is None else f"from the checkpoint of step {step}"
    attempt = _attempt({"attempt": data.get("of_attempt")})
    lines = [f"generation {data.get('generation')} of {attempt} starts {source}"]
    lines += [f"not from {item.get('path')}: {item.get('why')}" for item in data.get("rejected") or ()]
    return "\n".join(lines)


def _generation_ended(data: Row) -> str:
    head = f"generation {data.get('generation')} ended"
    if not data.get("result"):
        return f"{head} without an outcome"
    return f"{head}: {data.get('ended_because') or data.get('ended_by') or data['result']}"


def _noted(data: Row) -> str:
    """What rank 0 says of a script of the user's own."""
    return f"generation {data.get('noted_generation')}: " + "\n".join(data.get("news") or ["nothing new"])


def _checkpoint(data: Row) -> str:
    newest = data.get("checkpoint") or data
    return f"the checkpoint of step {newest.get('step')} is proven: {newest.get('path')}"


def _queued(data: Row) -> str:
    return f"queued{' again' if data.get('again') else ''}{_because(data)}"


def _postponed(data: Row) -> str:
    if data.get("missing"):
        return f"{_attempt(data)} is left to the command that has its secrets: {data['missing']}"
    return f"{_attempt(data)} could not be handed over yet{_because(data)}"


def _resubmitting(data: Row) -> str:
    return f"goes on with {_attempt(data)}{_start(data)}{_because(data)}{_without(data)}"


def _cancel_requested(data: Row) -> str:
    return "its user asked to cancel it" + (", without a last checkpoint" if data.get("cancel_now") else "")


def _ended(verb: str) -> Callable[[Row], str]:
    def sentence(data: Row) -> str:
        step = f" at step {data['step']}" if data.get("step") is not None else ""
        error = first_error(data, lines=1)
        detail = f"\nfirst error: {error}" if error else ""
        return f"{verb}{step}{_because(data)}{detail}"

    return sentence


_SENTENCES: Mapping[str, Callable[[Row], str]] = {
    "submitted": _submitted,
    "handed_over": _handed_over,
    "postponed": _postponed,
    "queued": _queued,
    "started": lambda data: f"its processes started{_because(data)}",
    "running": lambda data: f"running{_because(data)}",
    "generation": _generation,
    "generation_ended": _generation_ended,
    "noted": _noted,
    "checkpoint": _checkpoint,
    "stopping": lambda data: f"stopping{_because(data)}",
    "unreachable": lambda data: f"its state is unknown{_because(data)}",
    "lost": _ended("the attempt ended"),
    "resubmitting": _resubmitting,
    "cancel_requested": _cancel_requested,
    "resumed": lambda data: f"resumed by its user with {_attempt(data)}{_start(data)}{_without(data)}",
    "stopped": _ended("stopped"),
    "succeeded": _ended("succeeded"),
    "failed": _ended("failed"),
    "cancelled": _ended("cancelled"),
    "controller_started": lambda data: f"a controller started{_because(data)}",
    "controller_stopped": lambda data: f"the controller stopped{_because(data)}",
}
