"""Claiming the next generation: who may, from which checkpoint, and how many failures in a row came before."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.job.checkpoints import choose, journal
from orchestrator.job.checkpoints.generations import (
    claims,
    newest_claim,
    newest_number,
    read_outcome,
    succeeded,
    write_claim,
)
from orchestrator.job.checkpoints.layout import own_places
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import Root, generation_dir
from orchestrator.job.protocol.records import Claim, Outcome, Resume
from orchestrator.job.system.atomic import create_json

ENDED_WELL = frozenset({"success", "stopped", "fenced"})


@dataclass(frozen=True)
class Request:
    """What a start asks for. `follows`: the generation it has just ended, None for the first claim of a start.

    `progressed`: this run has had a checkpoint that counted, even if its directory is empty now. `from_step` and
    `from_scratch` are the user's request. It is obeyed once in an attempt: when a scheduler starts the
    attempt again with the same arguments, that start goes on from the newest checkpoint.
    """

    run: str
    run_id: str
    attempt: int
    start: str
    nodes: int
    address: str
    port: int
    max_failures: int
    follows: int | None = None
    progressed: bool = False
    from_step: int | None = None
    from_scratch: bool = False

    @property
    def asked(self) -> str | None:
        """The user's request, as a claim records it."""
        if self.from_scratch:
            return "from-scratch"
        return f"from-step {self.from_step}" if self.from_step is not None else None


class Refused(Exception):
    """The claim can't be made. `cause` is "fenced", "finished" or the cause that `orch status` shows."""

    def __init__(self, cause: str, because: str) -> None:
        super().__init__(because)
        self.cause = cause
        self.because = because


def claim(root: Root, request: Request) -> Claim:
    """Makes the next generation for `request`. Raises Refused, and OSError when the root can't be read or written."""
    while True:
        number, before = newest_number(root), newest_claim(root)
        _check_turn(request, number, before)
        if before is not None:
            _check_end(root, request, before)
        for older in range(before.generation if before else 1, number + 1):
            journal.close(root, older)
        made = _make(root, request, number + 1, before)
        if write_claim(root, made):
            for name in (files.RANKS, files.LOGS, files.CHECKPOINTS):
                (generation_dir(root, made.generation) / name).mkdir(parents=True, exist_ok=True)
            return made
        # Somebody was faster. Of one attempt the newest start counts, so it claims again unless it has claimed before.


@dataclass(frozen=True)
class NoProgress:
    """Generations in a row that ended without a new proven checkpoint: those that failed, those asked to stop."""

    failures: int = 0
    stops: int = 0


def no_progress(root: Root, before: Claim, outcome: Outcome | None) -> NoProgress:
    """Up to and with the end of generation `before`; without an outcome it was lost, which is a failure."""
    if has_progressed(root, before):
        return NoProgress()
    result = outcome.result if outcome is not None else None
    failed, stopped = result not in ENDED_WELL, result == "stopped"
    return NoProgress(before.failures + failed, before.stops + stopped)


def has_progressed(root: Root, before: Claim) -> bool:
    """Whether it made a checkpoint newer than the one it resumed from: committed, or whole where nobody commits."""
    resumed = before.resume.step if before.resume else 0
    newer = [place for place in own_places(root, before.generation) if place.step > resumed]
    return any(place.committed or (not place.manual and verify(Path(root) / place.path).proven) for place in newer)


def _check_turn(request: Request, number: int, before: Claim | None) -> None:
    """Raises Refused if a claim takes precedence over this one."""
    if before is not None and before.attempt > request.attempt:
        raise Refused(
            "fenced",
            f"Attempt {before.attempt} has claimed generation {before.generation}; this is attempt {request.attempt}.",
        )
    if request.follows is not None and number != request.follows:
        raise Refused(
            "fenced", f"Generation {number} was claimed while generation {request.follows} of this start was ending."
        )


def _check_end(root: Root, request: Request, before: Claim) -> None:
    """Raises Refused if the run has ended, for good or until another attempt is requested."""
    if succeeded(root, before.generation):
        raise Refused("finished", f"The run finished in generation {before.generation}.")
    outcome = read_outcome(root, before.generation)
    final = outcome is not None and outcome.is_final
    if final and outcome is not None and before.attempt == request.attempt:
        because = f"Attempt {before.attempt} has ended: {outcome.because} To try again takes a new attempt."
        raise Refused(outcome.cause, because)
    failures = no_progress(root, before, outcome).failures
    if not final and failures > request.max_failures and request.follows is None:
        because = (
            f"{failures} failures in a row without a new proven checkpoint, and {request.max_failures} are allowed; "
            f"generation {before.generation} of attempt {before.attempt} ended without an outcome."
        )
        _close_lost(root, before, failures, because)
        if before.attempt == request.attempt:
            raise Refused("agent_lost", because)


def _close_lost(root: Root, before: Claim, failures: int, because: str) -> None:
    """Writes the outcome that a lost generation could not; a later attempt starts counting again."""
    path = generation_dir(root, before.generation) / files.OUTCOME
    path.parent.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(
        result="failed",
        cause=Cause.AGENT_LOST,
        because=because,
        retry=False,
        failures=failures,
        generation=before.generation,
        attempt=before.attempt,
        time=time.time(),
    )
    create_json(path, to_json(outcome))


def _make(root: Root, request: Request, number: int, before: Claim | None) -> Claim:
    asked = request.asked if request.follows is None else None
    if any(older.asked == asked for older in claims(root) if older.attempt == request.attempt):
        asked = None
    vain = _vain_before(root, before)
    made = Claim(
        generation=number,
        run=request.run,
        run_id=request.run_id,
        attempt=request.attempt,
        start=request.start,
        nodes=request.nodes,
        address=request.address,
        port=request.port,
        time=time.time(),
        failures=vain.failures,
        stops=vain.stops,
        asked=asked,
    )
    if asked is not None and request.from_scratch:
        return made
    try:
        choice = choose.choose(root, request.from_step if asked is not None else None)
    except choose.NoSuchStep as error:
        raise Refused("no_proven_checkpoint", f"{error} Resume from one of them, or without --from.") from error
    known = request.progressed or (before is not None and before.progress)
    progress = known or choice.existed or bool(choice.sealed)
    if choice.chosen is None and progress:
        rejected = " ".join(f"{entry.path}: {entry.why}." for entry in choice.rejected)
        raise Refused(
            "no_proven_checkpoint",
            f"There were checkpoints, and none of them is proven now. {rejected} "
            "Starting at step 0 would throw that work away: insist with --from-scratch.",
        )
    resume = Resume(choice.chosen.path, choice.chosen.step) if choice.chosen else None
    return replace(made, resume=resume, sealed=choice.sealed, rejected=choice.rejected, progress=progress)


def _vain_before(root: Root, before: Claim | None) -> NoProgress:
    if before is None:
        return NoProgress()
    outcome = read_outcome(root, before.generation)
    if outcome is not None and outcome.is_final:
        return NoProgress()  # it ended for good, and this is another attempt, which was requested
    return no_progress(root, before, outcome)
