"""What a run's own records say, for those who watch it: its state, its checkpoints, its metrics."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

from orchestrator.job.checkpoints.choose import counted
from orchestrator.job.checkpoints.generations import (
    Claim,
    Root,
    claims,
    generation_dir,
    newest_claim,
    newest_number,
    read_claim,
    read_outcome,
    succeeded,
)
from orchestrator.job.checkpoints.layout import Place, foreign_places, generation_of, own_places
from orchestrator.job.checkpoints.structure import Problem
from orchestrator.job.checkpoints.verify import size_of, verify
from orchestrator.job.system.atomic import read_json

_TAIL = 64 * 1024  # bytes of metrics.jsonl that hold its last line
REFUSALS = "refused"  # directory of the records of starts that ended before they had a generation


@dataclass(frozen=True)
class CheckpointRef:
    """The newest checkpoint that counts. `proven`: it is committed, or a claim has verified it."""

    step: int
    path: str
    proven: bool


@dataclass(frozen=True)
class Report:
    """The newest generation and how it stands. `result` is None while it is open, `beat` moves while an agent lives."""

    generation: int = 0
    attempt: int = 0
    resumed_from: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    state: str | None = None
    checkpoint: CheckpointRef | None = None
    success: bool = False
    result: str | None = None
    cause: str = "none"
    because: str = ""
    retry: bool = True
    first_error: Mapping[str, Any] | None = None
    host: str | None = None
    failures: int = 0
    start: str | None = None
    beat: int = 0


@dataclass(frozen=True)
class Listed:
    """One checkpoint directory. `proven` is None where nobody has looked; `path` is relative to the root."""

    step: int
    path: str
    generation: int
    basis: str
    proven: bool | None
    problems: tuple[Problem, ...]
    bytes: int
    counts: bool


def read_report(root: Root, after_generation: int = 0) -> Report:
    """What the newest generation says; nothing of generations up to `after_generation`. Raises OSError."""
    claim = newest_claim(root)
    refusal = _refusal(root, claim)
    if claim is None or claim.generation <= after_generation:
        ended = {**_ended(refusal, refusal["attempt"]), "start": refusal.get("start")} if refusal else {}
        return Report(checkpoint=_checkpoint(root), **ended)
    directory = generation_dir(root, claim.generation)
    progress = read_json(directory / "progress.json") or {}
    line = _last_line(directory / "metrics.jsonl")
    outcome = read_outcome(root, claim.generation)
    success = succeeded(root, claim.generation)
    if refusal and (success or (outcome and refusal.get("start") == claim.start)):
        refusal = None  # the start has come to an end of its own, of which this node knew nothing
    said = refusal or outcome
    ended = _ended(said, refusal["attempt"] if refusal else claim.attempt) if said else {"attempt": claim.attempt}
    if ended.get("host") is None:
        ended["host"] = host_of_error(directory, outcome)
    return Report(
        generation=claim.generation,
        resumed_from=claim.resume.step if claim.resume else None,
        step=_step(claim, progress, line, outcome),
        steps=progress.get("steps"),
        loss=line.get("loss"),
        tokens_per_second=line.get("tokens_per_second"),
        state=progress.get("state"),
        checkpoint=_checkpoint(root),
        success=success,
        failures=(outcome or {}).get("failures", claim.failures),
        start=refusal.get("start") if refusal else claim.start,
        beat=sum((read_json(path) or {}).get("count", 0) for path in directory.glob("beat-*.json")),
        **ended,
    )


def list_checkpoints(root: Root, *, verify: bool = False) -> list[Listed]:
    """Every checkpoint directory of the run, newest first, also those that do not count. Raises OSError."""
    counting = {candidate.path for candidate in counted(root)}
    places = [place for number in range(1, newest_number(root) + 1) for place in own_places(root, number)]
    places += foreign_places(root)
    listed = [_listed(Path(root), place, counts=place.path in counting, full=verify) for place in places]
    return sorted(listed, key=lambda entry: (entry.step, entry.generation), reverse=True)


def read_metrics(root: Root) -> list[dict[str, Any]]:
    """One line for every logged step that counts, in the order of steps. Raises OSError.

    The newest generation's lines, before them those of the generation that saved what it resumed from, up to that step,
    and so on. What a generation did after the checkpoint that its successor chose, it did in vain.
    """
    lines: dict[int, dict[str, Any]] = {}
    claim, last = newest_claim(root), None
    while claim is not None:
        first = claim.resume.step if claim.resume else 0
        for line in read_lines(generation_dir(root, claim.generation) / "metrics.jsonl"):
            if line["step"] > first and (last is None or line["step"] <= last):
                lines[line["step"]] = line
        parent = generation_of(claim.resume.path) if claim.resume else 0
        claim, last = (read_claim(root, parent) if parent else None), first
    return [lines[step] for step in sorted(lines)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a torn one, of a process that was killed, is left out. Raises OSError."""
    try:
        with path.open("rb") as file:
            return list(_parsed(file))
    except FileNotFoundError:
        return []


def lines_after(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The complete lines of a metrics file after a byte offset, and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return list(_parsed(whole.splitlines())), offset + len(whole)


def generations(root: Root, after: int) -> list[dict[str, Any]]:
    """What the claims and outcomes of the generations above `after` say, oldest first. Raises OSError."""
    newer = sorted((claim for claim in claims(root) if claim.generation > after), key=lambda claim: claim.generation)
    return [_generation(root, claim) for claim in newer]


def _generation(root: Root, claim: Claim) -> dict[str, Any]:
    directory = generation_dir(root, claim.generation)
    outcome = read_outcome(root, claim.generation) or {}
    hosts = hosts_of(directory)
    return {
        "generation": claim.generation,
        "attempt": claim.attempt,
        "began": claim.time,
        "resumed_step": claim.resume.step if claim.resume else None,
        "resumed_path": claim.resume.path if claim.resume else None,
        "rejected": [asdict(one) for one in claim.rejected],
        "result": outcome.get("result"),
        "cause": outcome.get("cause"),
        "because": outcome.get("because") or "",
        "host": host_of_error(directory, outcome),
        "hosts": [hosts[node] for node in sorted(hosts)],
    }


def hosts_of(directory: Path) -> dict[int, str]:
    """The machines that joined a generation, by node."""
    found = (read_json(path) or {} for path in directory.glob("node-*.json"))
    return {record["node"]: record["host"] for record in found if "node" in record and "host" in record}


def host_of_error(directory: Path, outcome: Mapping[str, Any] | None) -> str | None:
    """The machine of the first error of a generation; None when no error names a node that joined."""
    if (outcome or {}).get("host") is not None:
        return str((outcome or {})["host"])
    error = (outcome or {}).get("first_error") or {}
    return hosts_of(directory).get(error.get("node", -1))


def _ended(said: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    return {
        "attempt": attempt,
        "result": said.get("result"),
        "cause": said.get("cause", "unknown"),
        "because": said.get("because", ""),
        "retry": bool(said.get("retry", True)),
        "first_error": said.get("first_error"),
        "host": said.get("host"),
    }


def _refusal(root: Root, claim: Claim | None) -> dict[str, Any] | None:
    """The newest word of a start that ended before it had a generation, unless a claim came after it."""
    found = [read_json(path) for path in (Path(root) / REFUSALS).glob("node-*.json")]
    newest = max((entry for entry in found if entry), key=lambda entry: entry.get("time", 0.0), default=None)
    if newest is None or newest.get("generation", 0) < (claim.generation if claim else 0):
        return None
    return newest if newest.get("attempt", 0) >= (claim.attempt if claim else 0) else None


def _step(
    claim: Claim, progress: Mapping[str, Any], line: Mapping[str, Any], outcome: Mapping[str, Any] | None
) -> int | None:
    said = [
        claim.resume.step if claim.resume else None,
        progress.get("step"),
        line.get("step"),
        (outcome or {}).get("step"),
    ]
    return max((step for step in said if isinstance(step, int)), default=None)


def _checkpoint(root: Root) -> CheckpointRef | None:
    newest = next((candidate for candidate in counted(root) if candidate.settled), None)
    return (
        CheckpointRef(newest.step, newest.path, proven=newest.generation > 0 or newest.digest is not None)
        if newest
        else None
    )


def _listed(root: Path, place: Place, *, counts: bool, full: bool) -> Listed:
    directory = root / place.path
    basis = "manifest" if place.committed or place.manual else "structure"
    unjudged = place.committed or not place.manual  # without a manifest where all commit, there is nothing to judge
    listed = Listed(place.step, place.path, place.generation, basis, None, (), size_of(directory), counts)
    if unjudged and not counts:
        return replace(listed, proven=False, problems=(Problem(".", "does not count: the newest claim left it out"),))
    if unjudged and not full:
        return listed
    verdict = verify(directory)
    return replace(listed, proven=verdict.proven, problems=verdict.problems)


def _last_line(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            parsed = list(_parsed(file))
    except FileNotFoundError:
        return {}
    return parsed[-1] if parsed else {}


def _parsed(file: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for raw in file:
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line
