"""Where checkpoints lie below a root, and what their names say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Sequence

from orchestrator.job.checkpoints import discover, manifest
from orchestrator.job.checkpoints.discover import Found, Kind, latest_tag
from orchestrator.job.protocol.disk import read, read_all
from orchestrator.job.protocol.files import (
    GENERATIONS,
    MANUAL_COMMITS,
    METRICS,
    MODEL,
    REFUSALS,
    SET_ASIDE,
    SHOWN,
    Root,
    checkpoints_dir,
    generation_dir,
    generations_dir,
    work_dir,
)
from orchestrator.job.protocol.files import claim as claim_file
from orchestrator.job.protocol.records import Claim, Shown, StepTime

_COARSE = 0.05  # seconds by which a file's time may lag behind the clock: the kernel stamps it with its last tick


@dataclass(frozen=True)
class Place:
    """A directory that is or was to become a checkpoint. Generation 0: it is from before orch."""

    path: str
    step: int
    generation: int
    committed: bool  # it has a commit manifest
    manual: bool  # its generation commits explicitly: without a manifest nothing is proven
    kind: str = ""  # whose layout it has
    says_step: bool = True  # False: neither its name nor its files do, and `step` stands for when it was written


def own_places(root: Root, generation: int) -> list[Place]:
    """The checkpoints that a generation has made in its own directories, committed or not.

    Not those of older generations that it was shown, unless the script has saved there anew.
    """
    base, manual = Path(root), (generation_dir(root, generation) / MANUAL_COMMITS).exists()
    shown = read_shown(root, generation)
    found: list[Place] = []
    for tree, given, itself in (
        (checkpoints_dir(root, generation), (), True),
        (work_dir(root, generation), shown.code, False),
    ):
        units = discover.find(tree, left_out=frozenset(given), itself=itself)
        # Who commits commits checkpoints: other files that a script keeps beside its output are output.
        ordinary = {Kind.WEIGHTS, Kind.TORCH} if manual and not itself else {Kind.WEIGHTS}
        found += _places(base, tree, generation, [unit for unit in units if unit.kind not in ordinary], manual=manual)
    states = {entry.path: entry.state for entry in shown.checkpoints}
    return [place for place in found if place.path not in states or state_of(base / place.path) != states[place.path]]


def read_shown(root: Root, generation: int) -> Shown:
    """What the generation was shown; nothing where it has no directories of this kind. Raises OSError, RecordError."""
    return read(Shown, generation_dir(root, generation) / SHOWN) or Shown()


def state_of(unit: Path) -> str:
    """Changes when a file of the checkpoint `unit` is written, added or taken away."""
    found = [path.stat() for path in (files_of(unit) if unit.is_dir() else [unit])]
    newest = max((entry.st_mtime_ns for entry in found), default=0)
    return f"{len(found)} files, {sum(entry.st_size for entry in found)} bytes, {newest}"


def foreign_places(root: Root, *, weights: bool = False) -> list[Place]:
    """The checkpoints at the top of the root: from before orch. Of those that say the same step the newest is first.

    With `weights` also models alone, in a directory or of a step: there is nothing to resume from in them.
    """
    units = discover.find(Path(root), depth=0, left_out=frozenset({GENERATIONS, REFUSALS, SET_ASIDE, MODEL}), lone=True)
    shown = [unit for unit in units if unit.kind is not Kind.WEIGHTS or (weights and _is_listed(Path(root), unit))]
    shown.sort(key=lambda unit: (unit.kind is not Kind.UNIVERSAL, unit.time), reverse=True)
    return list(_places(Path(root), Path(root), 0, shown, manual=False))


def step_of(directory: Path) -> int | None:
    """The step that the name of a checkpoint directory, or of the tag in it, says."""
    tag = latest_tag(directory) if discover.kind_of(directory) is None else None
    return discover.step_in_name(directory.name if tag is None else tag)


def generation_of(path: str) -> int:
    """The generation that a path relative to the root lies in; 0: none, it is from before orch."""
    parts = path.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[0] == GENERATIONS and parts[1].isdigit() else 0


def files_of(unit: Path) -> list[Path]:
    """The files of a checkpoint, in order. Where DeepSpeed saved right into a directory, only what `latest` names."""
    if not unit.is_dir():
        return [unit]
    tag = latest_tag(unit) if discover.kind_of(unit) is None else None
    if tag is None:
        return sorted(_files_below(unit, frozenset()))
    return sorted([unit / "latest", *(_files_below(unit / tag, frozenset()) if tag else ())])


def _files_below(directory: Path, above: frozenset[str]) -> Iterator[Path]:
    """Through links to directories too, but not in a circle: `above` are the directories that this one lies in."""
    here = os.path.realpath(directory)
    if here in above:
        return
    try:
        entries = list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in entries:
        if path.is_dir():
            yield from _files_below(path, above | {here})
        elif path.is_file():
            yield path


def _is_listed(root: Path, model: Found) -> bool:
    return (root / model.path).is_dir() or (model.step is not None and "-of-" not in model.path)


def _places(root: Path, tree: Path, generation: int, units: Sequence[Found], *, manual: bool) -> Iterator[Place]:
    for unit in units:
        commit = manifest.read_commit(tree / unit.path)
        step = commit.step if commit else _step_of(root, generation, unit, units)
        if step is not None and (commit is None or generation in {commit.generation, 0}):
            path = (tree / unit.path).relative_to(root).as_posix()
            says_step = commit is not None or unit.step is not None
            yield Place(path, step, generation, commit is not None, manual, unit.kind.value, says_step)


def _step_of(root: Path, generation: int, unit: Found, beside: Iterable[Found]) -> int | None:
    """The step that a unit says; where it says none, the last one logged before it was written.

    Without a logged step: a number of saves or epochs stands for one, else it is one step after the start. None for
    what was written before the first logged step: no checkpoint, but data that the script has prepared. For what is
    from before orch nothing was logged, and the steps of what lies `beside` it and is older stand for that.
    """
    if unit.step is not None and not (unit.counts_saves and generation):
        return unit.step
    if not generation:
        return max((one.step for one in beside if one.step is not None and one.time <= unit.time), default=1)
    lines = read_all(StepTime, generation_dir(root, generation) / METRICS)
    if lines:
        return max((line.step for line in lines if line.time <= unit.time + _COARSE), default=None)
    if unit.step is not None:
        return unit.step + 1
    claim = read(Claim, generations_dir(root) / claim_file(generation))
    return 1 + (claim.resume.step if claim is not None and claim.resume else 0)
