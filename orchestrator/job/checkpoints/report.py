"""What a run's own records say, for those who watch it: its state, its checkpoints, its metrics."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Iterable, Iterator, Union

from orchestrator.job.checkpoints.choose import counted
from orchestrator.job.checkpoints.discover import Kind
from orchestrator.job.checkpoints.generations import (
    claims,
    newest_claim,
    newest_number,
    read_claim,
    read_outcome,
    succeeded,
)
from orchestrator.job.checkpoints.layout import Place, foreign_places, generation_of, own_places
from orchestrator.job.checkpoints.verify import size_of, verify
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read, read_all
from orchestrator.job.protocol.encoding import from_json, parse
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import Root, generation_dir
from orchestrator.job.protocol.records import Claim, Ending, Heartbeat, NodeJoined, Note, Outcome, RankProgress
from orchestrator.job.protocol.report import CheckpointRef, Generation, Listed, MetricsLine, Problem, Progress, Report

_TAIL = 64 * 1024  # bytes of metrics.jsonl that hold its last line


def read_report(root: Root, after_generation: int = 0) -> Report:
    """What the newest generation says; nothing of generations up to `after_generation`. Raises OSError, RecordError."""
    claim = newest_claim(root)
    refusal = _refusal(root, claim)
    if claim is None or claim.generation <= after_generation:
        report = Report(checkpoint=_checkpoint(root))
        return replace(_ended(report, refusal), attempt=refusal.attempt, start=refusal.start) if refusal else report
    directory = generation_dir(root, claim.generation)
    rank = read(RankProgress, directory / files.PROGRESS) or RankProgress()
    line = _last_line(directory / files.METRICS)
    outcome = read_outcome(root, claim.generation)
    success = succeeded(root, claim.generation)
    if refusal and (success or (outcome and refusal.start == claim.start)):
        refusal = None  # the start has come to an end of its own, of which this node knew nothing
    report = Report(
        generation=claim.generation,
        attempt=refusal.attempt if refusal else claim.attempt,
        resumed_from=claim.resume.step if claim.resume else None,
        progress=replace(_logged(line), step=_step(claim, rank, line, outcome), steps=rank.steps),
        state=rank.state,
        checkpoint=_checkpoint(root),
        success=success,
        failures=outcome.failures if outcome else claim.failures,
        notes=tuple(note.text for note in read_all(Note, directory / files.NOTES)),
        start=refusal.start if refusal else claim.start,
        beat=sum(_count(path) for path in directory.glob(files.heartbeat("*"))),
    )
    report = _ended(report, refusal or outcome)
    return report if report.host is not None else replace(report, host=host_of_error(directory, outcome))


def list_checkpoints(root: Root, *, verify: bool = False, only: str | None = None) -> list[Listed]:
    """Every checkpoint of the run, newest first, also those that do not count, and last models alone. Raises OSError.

    `only`: the path of one, relative to the root.
    """
    counting = {candidate.path for candidate in counted(root)}
    places = [place for number in range(1, newest_number(root) + 1) for place in own_places(root, number)]
    places += foreign_places(root, weights=True)
    places = [place for place in places if only is None or place.path == only]
    places.sort(key=lambda place: (place.kind != Kind.WEIGHTS.value, place.step, place.generation), reverse=True)
    return [_listed(Path(root), place, counts=place.path in counting, full=verify) for place in places]


def read_metrics(root: Root) -> list[MetricsLine]:
    """One line for every logged step that counts, in the order of steps. Raises OSError.

    The newest generation's lines, before them those of the generation that saved what it resumed from, up to that step,
    and so on. Lines of a generation after the checkpoint that its successor chose do not count.
    """
    lines: dict[int, MetricsLine] = {}
    claim, last = newest_claim(root), None
    while claim is not None:
        first = claim.resume.step if claim.resume else 0
        for line in read_lines(generation_dir(root, claim.generation) / files.METRICS):
            if line.step > first and (last is None or line.step <= last):
                lines[line.step] = line
        parent = generation_of(claim.resume.path) if claim.resume else 0
        claim, last = (read_claim(root, parent) if parent else None), first
    return [lines[step] for step in sorted(lines)]


def read_lines(path: Path) -> list[MetricsLine]:
    """The whole lines of a metrics file; a torn one, of a process that was killed, is left out. Raises OSError."""
    try:
        with path.open("rb") as file:
            return list(_parsed(file))
    except FileNotFoundError:
        return []


def lines_after(path: Path, offset: int) -> tuple[list[MetricsLine], int]:
    """The complete lines of a metrics file after a byte offset, and the offset after them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return list(_parsed(whole.splitlines())), offset + len(whole)


def generations(root: Root, after: int) -> tuple[Generation, ...]:
    """What the claims and outcomes of the generations above `after` say, oldest first. Raises OSError, RecordError."""
    newer = sorted((claim for claim in claims(root) if claim.generation > after), key=lambda claim: claim.generation)
    return tuple(_generation(root, claim) for claim in newer)


def _generation(root: Root, claim: Claim) -> Generation:
    directory = generation_dir(root, claim.generation)
    outcome = read_outcome(root, claim.generation)
    hosts = hosts_of(directory)
    found = Generation(
        generation=claim.generation,
        attempt=claim.attempt,
        began=claim.time,
        resumed_step=claim.resume.step if claim.resume else None,
        resumed_path=claim.resume.path if claim.resume else None,
        rejected=claim.rejected,
        host=host_of_error(directory, outcome),
        hosts=tuple(hosts[node] for node in sorted(hosts)),
    )
    if outcome is None:
        return found
    return replace(found, result=outcome.result, cause=outcome.cause, because=outcome.because)


def hosts_of(directory: Path) -> dict[int, str]:
    """The machines that joined a generation, by node."""
    found = (read(NodeJoined, path) for path in directory.glob(files.joined("*")))
    return {record.node: record.host for record in found if record is not None}


def host_of_error(directory: Path, outcome: Outcome | None) -> str | None:
    """The machine of the first error of a generation; None when no error names a node that joined."""
    if outcome is None or outcome.host is not None:
        return outcome.host if outcome else None
    node = outcome.first_error.node if outcome.first_error else None
    return hosts_of(directory).get(node) if node is not None else None


def _ended(report: Report, end: Union[Ending, Outcome, None]) -> Report:
    """The report with an end."""
    if end is None:
        return report
    return replace(
        report,
        result=end.result,
        cause=end.cause,
        because=end.because,
        retry=end.retry,
        first_error=end.first_error if isinstance(end, Outcome) else None,
        host=end.host,
    )


def _count(path: Path) -> int:
    beat = read(Heartbeat, path)
    return beat.count if beat else 0


def _refusal(root: Root, claim: Claim | None) -> Ending | None:
    """The newest record of a start that ended before it had a generation, unless a claim came after it."""
    found = [read(Ending, path) for path in (Path(root) / files.REFUSALS).glob(files.joined("*"))]
    newest = max((entry for entry in found if entry), key=lambda entry: entry.time, default=None)
    if newest is None or (newest.generation or 0) < (claim.generation if claim else 0):
        return None
    return newest if newest.attempt >= (claim.attempt if claim else 0) else None


def _logged(line: MetricsLine | None) -> Progress:
    """What a line of metrics says; nothing where it has a key of another type, which a script may write."""
    try:
        return from_json(Progress, line.values) if line else Progress()
    except RecordError:
        return Progress()


def _step(claim: Claim, rank: RankProgress, line: MetricsLine | None, outcome: Outcome | None) -> int | None:
    steps = [
        claim.resume.step if claim.resume else None,
        rank.step,
        line.step if line else None,
        outcome.step if outcome else None,
    ]
    return max((step for step in steps if step is not None), default=None)


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
    counts = counts or place.kind == Kind.WEIGHTS.value
    step = place.step if place.says_step else None
    listed = Listed(step, place.path, place.generation, basis, None, (), size_of(directory), counts, place.kind)
    if unjudged and not counts:
        return replace(listed, proven=False, problems=(Problem(".", "does not count: the newest claim left it out"),))
    if unjudged and not full:
        return listed
    verdict = verify(directory)
    return replace(listed, proven=verdict.proven, problems=verdict.problems)


def _last_line(path: Path) -> MetricsLine | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            parsed = list(_parsed(file))
    except FileNotFoundError:
        return None
    return parsed[-1] if parsed else None


def _parsed(file: Iterable[bytes]) -> Iterator[MetricsLine]:
    for raw in file:
        try:
            yield parse(MetricsLine, raw)
        except RecordError:
            continue
