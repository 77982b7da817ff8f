"""`--wait`: one line that is rewritten on a terminal; elsewhere a line for each change."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.views import units
from orchestrator.views.phases import ENDED, ROLES, next_step
from orchestrator.views.reasons import first_error, why
from orchestrator.views.table import Row
from orchestrator.views.text import Paint, bar, clean, field, plain, shorten

LINES_PER_RUN = 100  # at most so many plain lines for steps
DOING: Mapping[str, str] = {
    "loading": "loading model and data",
    "compiling": "compiling DeepSpeed operators (once per machine)",
    "saving": "saving",
}


def live(run: Row, *, width: int, paint: Paint = plain, unicode: bool = True) -> str:
    """One line: name, phase, bar, steps, loss, speed, time left. Three columns stay free for the terminal's `^C`."""
    room = width - 3
    if run["phase"] == "running" and run["step"] is not None:
        facts = _facts(run)
        while len(facts) > 1 and len("  ".join([run["phase"], *facts])) + 10 > room:
            facts.pop(_FIRST_TO_GO.get(len(facts), -1))
    else:
        facts = [units.short_duration(run["age"])]
        reason = run["because"] or DOING.get(run.get("doing") or "", "")
        facts += [shorten(clean(reason), max(8, room - 34))] if reason else []
    name = shorten(run["name"], max(8, min(24, room - len("  ".join(["", run["phase"], *facts])))))
    left = min(24, room - len("  ".join([name, run["phase"], *facts])) - 2)
    shown = [paint(name, "strong"), paint(run["phase"], ROLES.get(run["phase"], ""))]
    if run["phase"] == "running" and run["steps"] and run["step"] is not None and left >= 6:
        shown.append(paint(bar(run["step"], run["steps"], left, unicode=unicode), "busy"))
    return "  ".join([*shown, *facts])


_FIRST_TO_GO = {4: 2, 3: 1}  # of steps, loss, speed, time left: the speed, then the loss


def _facts(run: Row) -> list[str]:
    facts = [f"{run['step']}/{run['steps']}" if run["steps"] else f"step {run['step']}"]
    facts += [f"loss {units.loss(run['loss'])}"] if run["loss"] is not None else []
    facts += [f"{units.rate(run['tokens_per_second'])} tok/s"] if run["tokens_per_second"] is not None else []
    facts += [f"{units.short_duration(run['eta'])} left"] if run["eta"] is not None else []
    return facts


def changes(before: Row | None, run: Row, *, last_step: int | None) -> list[str]:
    """Lines for what changed since `before`, except its end (see `closing`). `last_step`: the last step printed."""
    if before is None:
        return [_phase(run)]
    lines = []
    if run["attempt"] != before["attempt"]:
        lines.append(f"attempt {run['attempt']}")
    if run["phase"] not in ENDED and (run["phase"], run["because"] if run["phase"] != "running" else "") != (
        before["phase"],
        before["because"] if before["phase"] != "running" else "",
    ):
        lines.append(_phase(run))
    if run["generation"] != before["generation"] and run["generation"]:
        lines.append(_generation(run))
    if step_is_due(run, last_step):
        lines.append(_step(run))
    newest = run["checkpoint"]
    if newest and newest != before["checkpoint"] and newest["proven"]:
        lines.append(f"checkpoint of step {newest['step']} is proven")
    return lines


def notices(before: Row | None, run: Row) -> list[str]:
    """Lines that stay above the rewritten line: restarts with their reason, and why a job waits in the queue."""
    if run["phase"] == "queued" and run["because"] and (before is None or run["because"] != before["because"]):
        return [_phase(run)]
    if before is None or run["phase"] in ENDED or run["generation"] == before["generation"] or not before["generation"]:
        return []
    return [_generation(run)]


def _generation(run: Row) -> str:
    before = clean(run.get("before") or "")  # of the generation before, perhaps of another attempt; not the run's own
    return f"generation {run['generation']} (attempt {run['attempt']})" + (f", after: {before}" if before else "")


def closing(run: Row, *, width: int | None, paint: Paint = plain) -> list[str]:
    """How it ended, why, and what to do next."""
    head = paint(f"{run['name']} {run['phase']}", ROLES.get(run["phase"], ""))
    if run["ended_at"] is not None:
        head += f" after {units.duration(run['ended_at'] - run['submitted_at'])}"
    facts = [f"{run['step']:,} of {run['steps']:,} steps"] if run["step"] is not None and run["steps"] else []
    facts += [f"loss {units.loss(run['loss'])}"] if run["loss"] is not None else []
    facts += [units.plural(run["generation"], "generation")] if run["generation"] > 1 else []
    lines = [": ".join([head, ", ".join(facts)]) if facts else head]
    if run["phase"] not in {"succeeded", "cancelled"}:
        reasons = (("why", why(run)), ("first error", first_error(run)))
        lines += [field(label, text, width, paint) for label, text in reasons if text]
    return [*lines, field("next", next_step(run), width, paint)]


def step_is_due(run: Row, last_step: int | None) -> bool:
    """Whether the step is worth a line: the first, the last, and a hundredth of the way between two."""
    if run["step"] is None or run["phase"] not in {"running", "succeeded", "stopping"}:
        return False
    step, steps = int(run["step"]), run["steps"]
    if last_step is None or step < last_step:
        return step > 0
    stride = max(1, (steps or LINES_PER_RUN * 10) // LINES_PER_RUN)
    return step - last_step >= stride or (step == steps and step > last_step)


def _phase(run: Row) -> str:
    reason = why(run)
    return f"{run['phase']}: {reason}" if reason else str(run["phase"])


def _step(run: Row) -> str:
    parts = [f"step {run['step']}/{run['steps']}" if run["steps"] else f"step {run['step']}"]
    parts += [f"loss {units.loss(run['loss'])}"] if run["loss"] is not None else []
    parts += [f"{units.rate(run['tokens_per_second'])} tokens/s"] if run["tokens_per_second"] is not None else []
    parts += [f"{units.duration(run['eta'])} left"] if run["eta"] else []
    return ", ".join(parts)
