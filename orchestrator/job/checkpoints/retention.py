"""What may go: proven checkpoints beyond the newest few, leftovers of saves that were never finished."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

from orchestrator.job.checkpoints import journal, manifest
from orchestrator.job.checkpoints.choose import counted
from orchestrator.job.checkpoints.generations import newest_number, read_claim
from orchestrator.job.checkpoints.layout import own_places, read_shown, state_of
from orchestrator.job.checkpoints.verify import verify
from orchestrator.job.protocol.files import SET_ASIDE, Root
from orchestrator.job.protocol.records import Claim
from orchestrator.job.system.removal import remove


@dataclass(frozen=True)
class Kept:
    """A checkpoint as retention sees it. `counts`: it is proven and part of the run's history."""

    path: str
    step: int
    generation: int
    counts: bool


def plan(places: Iterable[Kept], *, generation: int, keep: int) -> list[str]:
    """Paths that generation `generation` may delete, when it has just committed. Pure.

    Of what counts the newest `keep` (at least one) stay. Of what does not count, leftovers of older
    generations go, and the generation's own from before its newest commit: what is newer may be a save under way.
    Checkpoints from before orch (generation 0) are the user's: they stay.
    """
    ordered = sorted(places, key=lambda place: (place.step, place.generation), reverse=True)
    counting = [place for place in ordered if place.counts]
    if not counting:
        return []
    stay = {place.path for place in counting[: max(keep, 1)]}
    newest_own = max((place.step for place in counting if place.generation == generation), default=-1)
    return [
        place.path
        for place in ordered
        if place.path not in stay
        and 0 < place.generation <= generation
        and (place.counts or place.generation < generation or place.step < newest_own)
    ]


def prune(root: Root, generation: int, keep: int, *, spared: str | None = None) -> tuple[str, ...]:
    """Deletes what `generation` may, but `spared`, a path, and returns the paths.

    Nothing, when a newer generation has been claimed. Call it after a commit. Finishes what an earlier call announced
    and a crash cut short. Raises OSError.
    """
    claim = read_claim(root, generation)
    if claim is None or newest_number(root) != generation:
        return ()
    unfinished = [path for path in journal.announced(root, generation) if (Path(root) / path).exists()]
    going = plan(survey(root, claim), generation=generation, keep=keep)
    going = [path for path in going if spared is None or (Path(root) / path).resolve() != Path(spared).resolve()]
    paths = tuple(dict.fromkeys([*unfinished, *going]))
    if not paths or not journal.announce(root, generation, paths):
        return ()
    for path in paths:
        delete(Path(root) / path)
    _drop_shown(Path(root), generation, spared)
    return paths


def _drop_shown(root: Path, generation: int, spared: str | None) -> None:
    """Deletes what the generation was shown of checkpoints that are gone: links would keep their space."""
    for entry in read_shown(root, generation).checkpoints:
        copy = root / entry.path
        if (root / entry.origin).exists() or not copy.exists() or state_of(copy) != entry.state:
            continue
        if spared is None or copy.resolve() != Path(spared).resolve():
            delete(copy)


def delete(checkpoint: Path) -> None:
    """Deletes a checkpoint, its commit manifest first: cut short at any point, what is left is not proven."""
    manifest.withdraw(checkpoint)
    remove(checkpoint)


def drop_unfinished(root: Root, generation: int) -> list[str]:
    """Deletes what a generation that commits has not committed. For its end only: nobody may be saving any more."""
    dropped = []
    for place in own_places(root, generation):
        if place.manual and not place.committed:
            remove(Path(root) / place.path)
            dropped.append(place.path)
    return dropped


def set_aside(root: Root, claim: Claim) -> list[str]:
    """Moves checkpoints from before orch that the run's first claim rejected to set-aside/. Raises OSError."""
    if claim.generation != 1:
        return []
    moved = []
    for entry in claim.rejected:
        source = Path(root) / entry.path
        if "/" in entry.path or entry.path == "." or not source.exists():
            continue
        target = Path(root) / SET_ASIDE / entry.path
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            source.rename(target)
            moved.append(entry.path)
    return moved


def survey(root: Root, claim: Claim) -> Sequence[Kept]:
    """The run's checkpoint directories. Sizes are checked, so that a damaged one takes no good one's place."""
    holds = {
        candidate.path for candidate in counted(root) if verify(Path(root) / candidate.path, contents=False).proven
    }
    places = [place for number in range(1, claim.generation + 1) for place in own_places(root, number)]
    return [
        Kept(place.path, place.step, place.generation, place.path in holds)
        for place in places
        if posixpath.dirname(place.path)
        not in holds  # a claim has sealed the whole directory that DeepSpeed saved into
    ]
