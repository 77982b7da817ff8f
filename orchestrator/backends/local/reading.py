"""What a local attempt is doing: its locks first, then its own records, so that the records are never older."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.backends import Mark, Metrics
from orchestrator.backends.local.slots import Slot, State, attempt_dir, read_json, read_slot, start_id, this_host
from orchestrator.checkpoints import report as records
from orchestrator.checkpoints.generations import Claim, claims, generation_dir, newest_claim
from orchestrator.model.run import Cause, CheckpointRef, Generation, Observation, Phase, Report, Submission

LAST_BYTES = 4096
_STEPPING = frozenset({"training", "saving", "done"})


def observe(submission: Submission) -> Observation:
    """Phase, cause and report of one attempt."""
    directory = attempt_dir(submission)
    start = start_id(submission)
    slots = [read_slot(directory, node, start) for node in range(submission.nodes)]
    asked = (directory / "asked.json").exists()
    owner = read_json(Path(submission.checkpoint_dir) / "owner.json")
    foreign = owner is not None and owner.get("run_id") != submission.run_id
    report = Report() if foreign else read_report(Path(submission.checkpoint_dir))
    mine = report if report.attempt == submission.attempt else _only_history(report)
    elsewhere = next((slot.host for slot in slots if slot.host not in {None, this_host()}), None)
    if elsewhere is not None:
        return Observation(
            phase=Phase.UNKNOWN, raw="elsewhere", because=f"it runs on {elsewhere}, which alone can tell", report=mine
        )
    if submission.handle is None and not asked:
        return Observation(phase=Phase.PENDING, raw=_raw(slots), report=mine)
    if any(slot.state in {State.LIVE, State.BOOTING} for slot in slots):
        return _living(slots, mine, asked=asked)
    if foreign and owner is not None:
        because = f"the checkpoint directory {submission.checkpoint_dir} belongs to the run {owner.get('run')}"
        return Observation(phase=Phase.STOPPED, cause=Cause.OWNED, raw=_raw(slots), because=because)
    return _over(submission, slots, report, mine, asked=asked)


def _living(slots: Sequence[Slot], report: Report, *, asked: bool) -> Observation:
    # An agent that said how it ended has told the others; one that was killed may have left them waiting.
    killed = [slot.node for slot in slots if slot.state is State.GONE and slot.end is None]
    partial = f"the agent of node {', '.join(map(str, killed))} is gone" if killed else ""
    phase = Phase.RUNNING if report.result is None and report.state in _STEPPING else Phase.STARTING
    return Observation(phase=Phase.STOPPING if asked else phase, raw=_raw(slots), report=report, partial=partial)


def _over(submission: Submission, slots: Sequence[Slot], report: Report, mine: Report, *, asked: bool) -> Observation:
    raw = _raw(slots)
    if report.success:
        return Observation(phase=Phase.SUCCEEDED, cause=Cause.COMPLETED, raw=raw, report=report)
    if report.attempt > submission.attempt:
        because = f"attempt {report.attempt} went on in generation {report.generation}"
        return Observation(phase=Phase.STOPPED, cause=Cause.FENCED, raw=raw, because=because, report=mine)
    if mine.result is not None:
        phase = Phase.FAILED if mine.result == "failed" else Phase.STOPPED
        return Observation(phase=phase, cause=mine.cause, raw=raw, because=mine.because, report=mine)
    if asked and all(slot.state is State.UNUSED for slot in slots):
        because = "it was cancelled before it began"
        return Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, raw=raw, because=because, report=mine)
    ends = [slot.end for slot in slots if slot.end is not None]
    if len(ends) == len(slots):
        return _as_said(raw, ends[0], mine)
    because = f"no agent is left, and none of them said how it ended{_last_words(submission)}"
    return Observation(phase=Phase.FAILED, cause=Cause.AGENT_LOST, raw=raw, because=because, report=mine)


def _as_said(raw: str, end: Mapping[str, Any], mine: Report) -> Observation:
    """The end of an attempt that never had a generation, in its own agent's words."""
    cause, because = cause_of(end.get("cause")), str(end.get("because", ""))
    result, retry = str(end.get("result", "failed")), bool(end.get("retry", True))
    report = dataclasses.replace(mine, result=result, cause=cause, because=because, retry=retry)
    phase = Phase.FAILED if result == "failed" else Phase.STOPPED
    return Observation(phase=phase, cause=cause, raw=raw, because=because, report=report)


def _last_words(submission: Submission) -> str:
    """The last line that an agent printed, for the reader of `because`."""
    for node in range(submission.nodes):
        path = attempt_dir(submission) / f"agent-{node}.log"
        with contextlib.suppress(OSError), path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LAST_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            if lines:
                return f"; the last line of {path.name}: {lines[-1][:300]}"
    return ""


def _raw(slots: Sequence[Slot]) -> str:
    return " ".join(f"{slot.node}:{slot.state.value}" for slot in slots)


def _only_history(report: Report) -> Report:
    """A report of an older attempt, without what it says of that attempt's own end."""
    return dataclasses.replace(
        report,
        step=None,
        result=None,
        cause=Cause.NONE,
        because="",
        retry=True,
        first_error=None,
        failures=0,
        beat=0,
        state=None,
    )


def read_report(root: Path) -> Report:
    """The job's own records below a checkpoint directory."""
    found = records.read_report(root)
    fields: dict[str, Any] = {
        name: getattr(found, name) for name in Report.__dataclass_fields__ if hasattr(found, name)
    }
    fields["cause"] = cause_of(found.cause)
    if found.checkpoint is not None:
        chosen = found.checkpoint
        fields["checkpoint"] = CheckpointRef(step=chosen.step, path=str(chosen.path), proven=bool(chosen.proven))
    return Report(**fields)


def cause_of(word: str | None) -> Cause:
    """The cause that a word of the job's records names; a word that this version does not know is UNKNOWN."""
    try:
        return Cause(word or "none")
    except ValueError:
        return Cause.UNKNOWN


def generations(submission: Submission, after: int) -> list[Generation]:
    """What the claims and outcomes of the generations above `after` say."""
    root = Path(submission.checkpoint_dir)
    newer = sorted((claim for claim in claims(root) if claim.generation > after), key=lambda claim: claim.generation)
    return [_generation(root, claim) for claim in newer]


def _generation(root: Path, claim: Claim) -> Generation:
    outcome = read_json(generation_dir(root, claim.generation) / "outcome.json") or {}
    return Generation(
        generation=claim.generation,
        attempt=claim.attempt,
        began=claim.time,
        resumed_step=claim.resume.step if claim.resume else None,
        resumed_path=claim.resume.path if claim.resume else None,
        rejected=tuple({"path": one.path, "why": one.why} for one in claim.rejected),
        result=outcome.get("result"),
        cause=cause_of(outcome.get("cause")),
        because=outcome.get("because") or "",
    )


def metrics(submission: Submission, after: Mark | None) -> Metrics | None:
    """Lines after a mark: the rest of the same generation's file, or all that counts when another one has begun."""
    root = Path(submission.checkpoint_dir)
    newest = newest_claim(root)
    if newest is None:
        return None
    generation = newest.generation
    path = generation_dir(root, generation) / "metrics.jsonl"
    if after is not None and after.generation == generation:
        lines, end = _tail(path, after.offset)
        return Metrics(mark=Mark(generation=generation, offset=end), lines=lines, whole=False) if lines else None
    _, end = _tail(path, 0)  # before the whole is read: a line that comes in between is read twice, not lost
    return Metrics(mark=Mark(generation=generation, offset=end), lines=tuple(records.read_metrics(root)), whole=True)


def _tail(path: Path, offset: int) -> tuple[tuple[dict[str, Any], ...], int]:
    """The complete lines after a byte offset, and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except OSError:
        return (), offset
    whole = content[: content.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # a line that a kill cut and a restart completed
    return tuple(lines), offset + len(whole)
