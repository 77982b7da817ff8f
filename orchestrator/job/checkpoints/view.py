"""What a script of the user's own finds when a generation starts it.

Its code, what it has written before, and of checkpoints only those that count:

    generations/000003/work           the script's working directory: the code snapshot, and its relative output
    generations/000003/checkpoints    $ORCH_CHECKPOINT_DIR
    generations/000003/shown.json     written when both are there: what was made from what

A script that looks for its newest checkpoint by itself then finds one that is whole, or none. What a process of an
older generation still writes goes into that generation's directories, which nobody reads any more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Sequence

from orchestrator.job.checkpoints import discover, manifest, structure
from orchestrator.job.checkpoints.discover import Found, Kind
from orchestrator.job.checkpoints.generations import numbers
from orchestrator.job.checkpoints.layout import files_of, generation_of, own_places, read_shown, state_of
from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import Root, generation_dir, work_dir
from orchestrator.job.protocol.records import Claim, Sealed, Shown, ShownCheckpoint
from orchestrator.job.system import copies
from orchestrator.job.system.atomic import write_json

LARGE = 16 * 1024 * 1024  # bytes from which on a file is linked, which costs nothing, and not copied
_IN_PLACE = frozenset({".json", ".txt", ""})  # endings of what libraries write again in a checkpoint: `latest` has none
_UNIVERSAL = "_universal"
_NOT_CARRIED = frozenset({"__pycache__"})


def lay_out(root: Root, claim: Claim, code: Path | None) -> Shown:
    """Fills the directories of the claim's generation, which node 0 does before any rank runs. Raises OSError.

    Checkpoints are laid out from the oldest to the newest: some scripts take the newest by its time, not by its name.
    """
    base, work = Path(root), work_dir(root, claim.generation)
    work.mkdir(parents=True, exist_ok=True)
    names = tuple(_lay_code(code, work)) if code is not None else ()
    shown = [_show(base, target, sealed) for target, sealed in reversed(_targets(base, claim).items())]
    before = _before(root, claim)
    if before is not None:
        _carry(base, before, work)
    for directory in dict.fromkeys(Path(entry.path).parent for entry in shown):
        _point(base, [entry for entry in shown if Path(entry.path).parent == directory])
    resume = next((entry.path for entry in shown if claim.resume and entry.origin == claim.resume.path), None)
    if resume is not None and discover.is_tag(base / resume):  # DeepSpeed loads from the directory that has `latest`
        resume = Path(resume).parent.as_posix()
    record = Shown(tuple(reversed(shown)), resume, names)
    write_json(generation_dir(root, claim.generation) / files.SHOWN, to_json(record))
    return record


def _before(root: Root, claim: Claim) -> int | None:
    """The generation whose output goes on in the claim's: the newest that had all of its own."""
    if claim.asked == "from-scratch":
        return None
    older = (number for number in reversed(numbers(root)) if number < claim.generation)
    return next((number for number in older if (generation_dir(root, number) / files.SHOWN).exists()), None)


def _lay_code(code: Path, work: Path) -> Iterator[str]:
    """The files of the snapshot, as copies: what a script changes in its directory must not change the snapshot."""
    for source, name in _tree(code, frozenset()):
        _place(source, work / name, linked=False)
        yield name


def _targets(root: Path, claim: Claim) -> dict[Path, Sealed]:
    """Where the claim's generation finds each checkpoint: under the name that it has in its own, the newest first."""
    found: dict[Path, Sealed] = {}
    for sealed in sorted(claim.sealed, key=lambda entry: entry.step, reverse=True):
        parts = sealed.path.split("/")
        tree, *name = parts[2:] if generation_of(sealed.path) else [files.CHECKPOINTS, *parts]
        # Of those under one name, which a script writes again and again, the newest counts.
        found.setdefault(generation_dir(root, claim.generation).joinpath(tree, *name), sealed)
    return found


def _show(root: Path, target: Path, sealed: Sealed) -> ShownCheckpoint:
    origin = root / sealed.path
    # A name that says the step is not used again; `last.pt` is, and writing to a link would change what was sealed.
    named = discover.step_in_name(target.name) is not None
    if origin.is_dir():
        for path in files_of(origin):
            _place(path, target / path.relative_to(origin), linked=named and path.suffix not in _IN_PLACE)
        os.utime(target, ns=(origin.stat().st_atime_ns, origin.stat().st_mtime_ns))
    else:
        _place(origin, target, linked=named)
    return ShownCheckpoint(target.relative_to(root).as_posix(), sealed.path, sealed.step, state_of(target))


def _carry(root: Path, before: int, work: Path) -> None:
    """What the script has written beside its checkpoints. The code snapshot of now wins over a file that it changed."""
    source, code = work_dir(root, before), frozenset(read_shown(root, before).code)
    found = discover.find(source)
    own = {place.path for place in own_places(root, before)}
    checkpoints = {root / path for path in own | {entry.path for entry in read_shown(root, before).checkpoints}}
    left = {unit.path for unit in found if source / unit.path in checkpoints or not _is_output(source, unit)}
    left |= {pointer for unit in found for pointer in unit.pointers}
    for path, name in _tree(source, frozenset(left)):
        target = work / name
        if name in code or target.exists():
            continue
        if path.is_symlink():
            _carry_link(path, source, work)
        else:
            _place(path, target, linked=path.stat().st_size >= LARGE)


def _is_output(tree: Path, unit: Found) -> bool:
    """Whether a unit that is no checkpoint of the run's goes on as any file does: a model alone, if it is whole."""
    return unit.kind in (Kind.WEIGHTS, Kind.TORCH) and not structure.problems(tree / unit.path)


def _carry_link(path: Path, source: Path, work: Path) -> None:
    """A link into the old directory becomes one into the new; where nothing is there, it goes."""
    target, text = work / path.relative_to(source), os.readlink(path)
    if text.startswith(f"{source}/"):
        text = os.path.relpath(work / text[len(f"{source}/") :], target.parent)
    if (target.parent / text).exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(text)


def _tree(base: Path, left: frozenset[str]) -> Iterator[tuple[Path, str]]:
    """(path, name relative to `base`) of the files and links below `base`, but those in `left`; files before links."""
    linked = []
    for directory, inside, names in os.walk(base):
        here = Path(directory)
        prefix = "" if here == base else here.relative_to(base).as_posix() + "/"
        for name in [*names, *inside]:
            if (here / name).is_symlink() and prefix + name not in left:
                linked.append((here / name, prefix + name))
            elif manifest.is_of_a_file(name):
                continue  # proves a file of the older generation
            elif name in names and prefix + name not in left and (here / name).is_file():
                yield here / name, prefix + name
        inside[:] = [name for name in inside if name not in _NOT_CARRIED and prefix + name not in left]
    yield from linked


def _place(source: Path, target: Path, *, linked: bool) -> None:
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        (copies.link if linked else copies.copy)(source, target)


def _point(root: Path, shown: Sequence[ShownCheckpoint]) -> None:
    """Writes anew what names the newest checkpoint of a directory. `shown`: those in it, the newest last."""
    directory = (root / shown[0].path).parent
    names = [Path(entry.path).name for entry in shown]
    plain = [name for name in names if not name.endswith(_UNIVERSAL)]
    texts = {
        "latest": plain[-1:],
        "latest" + _UNIVERSAL: [name for name in names if name.endswith(_UNIVERSAL)][-1:],
        "latest_checkpointed_iteration.txt": [str(shown[-1].step)],  # Megatron
    }
    for origin in {(root / entry.origin).parent for entry in shown}:
        for path in origin.iterdir():
            target = directory / path.name
            if path.is_symlink() and (origin / os.readlink(path)).parent == origin and not target.is_symlink():
                target.symlink_to(names[-1])
            elif texts.get(path.name):
                target.write_text(texts[path.name][0])
