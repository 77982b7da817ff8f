"""Why a run is in its phase: its cause, the sentence with it, the first error of all ranks."""

from __future__ import annotations

from orchestrator.views.phases import QUIET
from orchestrator.views.table import Row
from orchestrator.views.text import clean

MESSAGE_LINES = 4  # of an error's message; the whole of it is in the logs


def why(run: Row) -> str:
    """`cause: sentence`, or the part of it that exists; "" if neither adds anything to the phase."""
    cause = str(run.get("cause") or "")
    return ": ".join(part for part in ("" if cause in QUIET else cause, clean(str(run.get("because") or ""))) if part)


def first_error(run: Row, lines: int = MESSAGE_LINES) -> str:
    """Type, message and place of the earliest error; "" if none was recorded, or `because` is its message."""
    error = run.get("first_error") or {}
    if error.get("message") and error["message"] == run.get("because"):
        return ""
    what = ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
    numbers = [f"{key} {error[key]}" for key in ("rank", "node") if error.get(key) is not None]
    place = ", ".join([*numbers, *([str(error["host"])] if error.get("host") else [])])
    text = "\n".join(clean(line) for line in what.splitlines()[:lines])
    return f"{text} ({place})" if text and place else text
