"""Which checkpoints count, and which of them the next generation goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.job.checkpoints import journal
from orchestrator.job.checkpoints.generations import newest_claim
from orchestrator.job.checkpoints.layout import Place, foreign_places, generation_of, own_places
from orchestrator.job.checkpoints.verify import Verdict, verify
from orchestrator.job.protocol.files import Root
from orchestrator.job.protocol.records import Sealed
from orchestrator.job.protocol.report import Rejected


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that counts if it is proven. `digest`: what a claim sealed, None when none has yet.

    `settled`: it is known to have been whole once, or is from before orch; False for what nobody has judged yet.
    """

    path: str
    step: int
    generation: int
    settled: bool
    digest: str | None = None


@dataclass(frozen=True)
class Choice:
    """`chosen` is the newest proven one, `sealed` all that hold, newest first; `existed`: there was one to lose."""

    chosen: Sealed | None
    sealed: tuple[Sealed, ...]
    rejected: tuple[Rejected, ...]
    existed: bool


class NoSuchStep(Exception):
    """The step that was asked for has no proven checkpoint. `steps` are those that have one, newest first."""

    def __init__(self, step: int, steps: tuple[int, ...], why: str) -> None:
        found = ", ".join(map(str, steps)) or "none"
        super().__init__(f"No proven checkpoint of step {step}{f' ({why})' if why else ''}; there are: {found}.")
        self.steps = steps


def counted(root: Root) -> list[Candidate]:
    """What counts now, newest first: what the newest claim sealed, and what its generation has committed since.

    Before the first claim: what was there before orch. Not what a generation announced to delete.
    """
    claim = newest_claim(root)
    if claim is None:
        found = [Candidate(place.path, place.step, 0, settled=True) for place in foreign_places(root)]
    else:
        sealed = [_sealed(entry) for entry in claim.sealed]
        own = [_committed(place) for place in own_places(root, claim.generation) if place.committed or not place.manual]
        gone = journal.announced(root, claim.generation)
        found = [candidate for candidate in sealed + own if candidate.path not in gone]
    return sorted(found, key=lambda candidate: (candidate.step, candidate.generation), reverse=True)


def choose(root: Root, from_step: int | None = None, *, threads: int = 8) -> Choice:
    """Verifies what counts, newest first: in full until one is proven, by sizes below it.

    `from_step` leaves out what is newer. Raises NoSuchStep, and OSError when the root can't be read.
    """
    candidates = counted(root)
    asked = [candidate for candidate in candidates if from_step is None or candidate.step <= from_step]
    sealed: list[Sealed] = []
    rejected: list[Rejected] = []
    for candidate in asked:
        verdict = verify(Path(root) / candidate.path, threads=threads, contents=not sealed)
        why = _objection(candidate, verdict)
        if why:
            rejected.append(Rejected(candidate.path, why))
        else:
            sealed.append(Sealed(candidate.path, candidate.step, verdict.digest))
    chosen = sealed[0] if sealed else None
    if from_step is not None and (chosen is None or chosen.step != from_step):
        damaged = {entry.path: entry.why for entry in rejected}
        why = next((damaged[item.path] for item in asked if item.step == from_step and item.path in damaged), "")
        steps = tuple(dict.fromkeys(item.step for item in candidates if item.path not in damaged))
        raise NoSuchStep(from_step, steps, why)
    return Choice(chosen, tuple(sealed), tuple(rejected), existed=any(candidate.settled for candidate in candidates))


def _objection(candidate: Candidate, verdict: Verdict) -> str:
    if not verdict.proven:
        return verdict.why
    if candidate.digest is not None and candidate.digest != verdict.digest:
        return "was changed after it had been sealed"
    return ""


def _sealed(entry: Sealed) -> Candidate:
    return Candidate(entry.path, entry.step, generation_of(entry.path), settled=True, digest=entry.digest)


def _committed(place: Place) -> Candidate:
    return Candidate(place.path, place.step, place.generation, settled=place.committed)
