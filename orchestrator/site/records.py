"""What the job itself has written, read together: its report, its generations, its metrics, how its agents ended."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Mapping

from orchestrator.checkpoints import report as reports
from orchestrator.checkpoints.atomic import read_json
from orchestrator.checkpoints.generations import Claim, claims, generation_dir, newest_claim, read_outcome
from orchestrator.site import attempts

_LAST_BYTES = 4096


def look(request: Mapping[str, Any]) -> dict[str, Any]:
    """The records of one attempt and of its run. Raises OSError.

    `after`: generations above this number are wanted, None: none are. `metrics`: lines of metrics are wanted, those
    after `mark`, None: all that count.
    """
    place, root = attempts.directory(request), Path(request["checkpoint_dir"])
    owner = read_json(root / "owner.json")
    foreign = owner is not None and owner.get("run_id") != request["run_id"]
    ended = {str(node): read_json(place / f"ended-{node}.json") for node in range(request["nodes"])}
    return {
        "owner": owner.get("run") if owner is not None and foreign else None,
        "report": asdict(reports.Report() if foreign else reports.read_report(root)),
        "generations": [] if foreign or request["after"] is None else generations(root, request["after"]),
        "metrics": metrics(root, request["mark"]) if request["metrics"] and not foreign else None,
        "asked": attempts.is_asked(place),
        "tried": (place / attempts.TRIED).exists(),
        "job": attempts.job_of(place),
        "ended": {node: record for node, record in ended.items() if record is not None},
        "last_words": last_words(place),
    }


def generations(root: Path, after: int) -> list[dict[str, Any]]:
    """What the claims and outcomes of the generations above `after` say, oldest first. Raises OSError."""
    newer = sorted((claim for claim in claims(root) if claim.generation > after), key=lambda claim: claim.generation)
    return [_generation(root, claim) for claim in newer]


def metrics(root: Path, mark: Mapping[str, int] | None) -> dict[str, Any] | None:
    """Lines after a mark: the rest of the same generation's file, or all that counts when another one has begun.

    None when there is nothing new. Raises OSError.
    """
    newest = newest_claim(root)
    if newest is None:
        return None
    number = newest.generation
    path = generation_dir(root, number) / "metrics.jsonl"
    if mark is not None and mark["generation"] == number:
        lines, end = _tail(path, mark["offset"])
        return {"mark": {"generation": number, "offset": end}, "lines": lines, "whole": False} if lines else None
    _, end = _tail(path, 0)  # before the whole is read: a line that comes in between is read twice, not lost
    return {"mark": {"generation": number, "offset": end}, "lines": reports.read_metrics(root), "whole": True}


def last_words(place: Path) -> str:
    """The last line that an agent or the job's script printed, with the file's name; empty when there is none."""
    mine = f"job-{attempts.job_of(place)}.log"  # a job that lost the claim has nothing to tell
    for path in sorted((*place.glob("agent-*.log"), *place.glob("job-*.log")), key=lambda log: (log.name != mine, log)):
        with contextlib.suppress(OSError), path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LAST_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            if lines:
                return f"the last line of {path.name}: {lines[-1][:300]}"
    return ""


def _generation(root: Path, claim: Claim) -> dict[str, Any]:
    directory = generation_dir(root, claim.generation)
    outcome = read_outcome(root, claim.generation) or {}
    hosts = reports.hosts_of(directory)
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
        "host": reports.host_of_error(directory, outcome),
        "hosts": [hosts[node] for node in sorted(hosts)],
    }


def _tail(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The complete lines after a byte offset, and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):  # a line that a kill cut and a restart completed
            lines.append(json.loads(line))
    return lines, offset + len(whole)
