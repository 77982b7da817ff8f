"""What the job itself has written, read together: its report, its generations, its metrics, how its agents ended."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.job.checkpoints import report as reports
from orchestrator.job.checkpoints.generations import newest_claim
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.operations.records import AttemptRecords, ReadRecords
from orchestrator.job.protocol.records import Ending, Owner
from orchestrator.job.protocol.report import Mark, Metrics, Report
from orchestrator.job.remote import attempts

_LAST_BYTES = 4096


def read_records(request: ReadRecords) -> AttemptRecords:
    """The records of one attempt and of its run. Raises OSError, RecordError."""
    place, root = files.attempt_dir(request.dir, request.attempt), Path(request.checkpoint_dir)
    owner = read(Owner, root / files.OWNER)
    foreign = owner is not None and owner.run_id != request.run_id
    ended = {node: read(Ending, place / files.ended(node)) for node in range(request.nodes)}
    return AttemptRecords(
        owner=owner.run if owner is not None and foreign else None,
        report=Report() if foreign else reports.read_report(root),
        generations=() if foreign or request.after is None else reports.generations(root, request.after),
        metrics=metrics(root, request.mark) if request.metrics and not foreign else None,
        asked=attempts.is_asked(place),
        job=attempts.job_of(place),
        ended={node: record for node, record in ended.items() if record is not None},
        last_words=last_words(place),
    )


def metrics(root: Path, mark: Mark | None) -> Metrics | None:
    """Lines after a mark: the rest of the same generation's file, or all that counts when another one has begun.

    None when there is nothing new. Raises OSError.
    """
    newest = newest_claim(root)
    if newest is None:
        return None
    number = newest.generation
    path = files.generation_dir(root, number) / files.METRICS
    if mark is not None and mark.generation == number:
        lines, end = reports.lines_after(path, mark.offset)
        return Metrics(Mark(number, end), tuple(lines), whole=False) if lines else None
    # The end before the whole: a line that comes in between is read twice, not lost.
    _, end = reports.lines_after(path, 0)
    return Metrics(Mark(number, end), tuple(reports.read_metrics(root)), whole=True)


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
