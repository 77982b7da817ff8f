"""`orch status`: the table of all runs, one run's page, their JSON. A row is a run's snapshot and what `row` adds."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.views import table, units
from orchestrator.views.phases import ENDED, QUIET, ROLES, next_step
from orchestrator.views.reasons import first_error, why
from orchestrator.views.table import Column, Row
from orchestrator.views.text import Paint, bar, field, plain


def row(run: Row, *, now: float, seconds_per_step: float | None = None) -> Row:
    """A snapshot with what depends on the clock: `age`, and `eta` while steps are being made."""
    eta = None
    if run["phase"] == "running" and seconds_per_step and run["steps"] and run["step"] is not None:
        eta = max(0, run["steps"] - run["step"]) * seconds_per_step
    return {**run, "eta": eta, "age": now - run["submitted_at"]}


def pace(metrics: Sequence[Row]) -> float | None:
    """Seconds per step over the newest lines of metrics, those of one generation."""
    newest = [line for line in metrics if line.get("generation") == metrics[-1].get("generation")]
    if len(newest) < 2 or not all(isinstance(line.get("time"), float) for line in newest):
        return None  # a script's own lines may tell no time
    steps = newest[-1]["step"] - newest[0]["step"]
    seconds = newest[-1]["time"] - newest[0]["time"]
    return float(seconds / steps) if steps > 0 and seconds > 0 else None


def _steps(run: Row) -> str:
    if run["step"] is None:
        return units.NOTHING if not run["steps"] else f"0/{run['steps']}"
    return f"{run['step']}/{run['steps']}" if run["steps"] else str(run["step"])


def _checkpoint_value(run: Row) -> dict[str, object] | None:
    """The newest checkpoint for scripts: its path is absolute, on the cluster."""
    newest = run["checkpoint"]
    if not newest:
        return None
    path = newest["path"]
    return {**newest, "path": path if path.startswith("/") else f"{run['checkpoint_dir']}/{path}"}


def _checkpoint(run: Row) -> str:
    newest = run["checkpoint"]
    return units.NOTHING if not newest else f"{newest['step']}{'' if newest['proven'] else '?'}"


def _cause(run: Row) -> str:
    return "" if run["cause"] in QUIET else str(run["cause"])


def _role(run: Row) -> str:
    return ROLES.get(run["phase"], "")


COLUMNS: tuple[Column, ...] = (
    Column(key="name", title="NAME", cell=lambda run: run["name"], shrink=True),
    Column(key="phase", title="PHASE", cell=lambda run: run["phase"], role=_role),
    Column(key="step", title="STEP", cell=_steps, right=True, need=1),
    Column(key="steps"),
    Column(key="loss", title="LOSS", cell=lambda run: units.loss(run["loss"]), right=True, need=3),
    Column(
        key="tokens_per_second",
        title="TOKENS/S",
        cell=lambda run: units.rate(run["tokens_per_second"] if run["phase"] == "running" else None),
        right=True,
        need=4,
    ),
    Column(key="eta", title="LEFT", cell=lambda run: units.short_duration(run["eta"]), right=True, need=5),
    Column(key="checkpoint", value=_checkpoint_value, title="SAVED", cell=_checkpoint, right=True, need=6),
    Column(title="AGE", cell=lambda run: units.short_duration(run["age"]), right=True, need=8),
    Column(key="cluster", title="CLUSTER", cell=lambda run: run["cluster"], need=7, shrink=True),
    Column(key="cause", title="CAUSE", cell=_cause, role=_role, need=2),
    *map(Column, ("because", "attempt", "generation", "dir", "checkpoint_dir", "metrics")),  # only in JSON
    *map(Column, ("submitted_at", "ended_at", "run_id", "failures", "first_error")),
)


def to_json(run: Row) -> dict[str, object]:
    return table.to_json(COLUMNS, run)


def listing(rows: Sequence[Row], *, width: int | None, paint: Paint = plain) -> list[str]:
    """All runs; empty if there are none (the command says so on stderr)."""
    return table.render(COLUMNS, rows, width=width, paint=paint) if rows else []


def page(run: Row, *, width: int | None, clock: units.Clock, paint: Paint = plain) -> list[str]:
    """One run in full."""
    role = ROLES.get(run["phase"], "")
    lines = [f"{paint(run['name'], 'strong')}  {paint(run['phase'], role)}"]
    for label, text, text_role in _fields(run, width, clock):
        if text:
            lines.append(field(label, text, width, paint, text_role))
    return lines


def _fields(run: Row, width: int | None, clock: units.Clock) -> list[tuple[str, str, str]]:
    ended = run["phase"] in ENDED
    return [
        ("why", why(run), ROLES.get(run["phase"], "") if ended else ""),
        ("first error", first_error(run) if run["phase"] != "succeeded" else "", ""),
        ("progress", _progress(run, width), ""),
        ("loss", "" if run["loss"] is None else units.loss(run["loss"]), ""),
        ("speed", _speed(run), ""),
        ("checkpoint", _newest(run), ""),
        ("attempt", f"{run['attempt']}{_job(run)}, generation {run['generation']}", ""),
        ("excluded", _excluded(run), ""),
        ("submitted", f"{clock(run['submitted_at'])}, {units.duration(run['age'])} ago", ""),
        ("ended", _ended(run, clock), ""),
        ("where", f"{run['dir']} on {run['cluster']}", ""),
        ("checkpoints", run["checkpoint_dir"], ""),
        ("metrics", run["metrics"], ""),
        ("next", next_step(run), "strong"),
    ]


def _job(run: Row) -> str:
    """The job id of the newest attempt, if its scheduler numbers jobs."""
    handle = str((run.get("submission") or {}).get("handle") or "")
    return f" (job {handle})" if handle.isdigit() else ""


def _progress(run: Row, width: int | None) -> str:
    if run["step"] is None:
        return f"no step yet of {run['steps']}" if run["steps"] else ""
    if not run["steps"]:
        return units.plural(run["step"], "step")
    text = f"{run['step']:,} of {run['steps']:,} steps, {units.percent(run['step'], run['steps'])}"
    if run["eta"] is not None:
        text += f", {units.duration(run['eta'])} left"
    return text if width is None else f"{bar(run['step'], run['steps'], 20)} {text}"


def _speed(run: Row) -> str:
    if run["tokens_per_second"] is None or run["phase"] != "running":
        return ""
    return f"{units.rate(run['tokens_per_second'])} tokens/s"


def _newest(run: Row) -> str:
    newest = run["checkpoint"]
    if not newest:
        return "none yet"
    return f"step {newest['step']}, {'proven' if newest['proven'] else 'not proven'}\n{newest['path']}"


def _excluded(run: Row) -> str:
    """The nodes excluded from its newest attempt; `orch nodes` shows why."""
    return ", ".join((run.get("submission") or {}).get("exclude", ()))


def _ended(run: Row, clock: units.Clock) -> str:
    if run["ended_at"] is None:
        return ""
    return f"{clock(run['ended_at'])}, after {units.duration(run['ended_at'] - run['submitted_at'])}"
