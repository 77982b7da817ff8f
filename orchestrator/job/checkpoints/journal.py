"""The prune journal of a generation: what it announced to delete, until a claimant closes the journal.

    generations/000003/prunes/000001.json   {"paths": [...]}     announced: these may be gone at any moment
    generations/000003/prunes/000002.json   {"closed": true}     the generation may never delete anything again

Each entry takes the next number by an exclusive create, so a generation and the claimant that follows it can't both
have it: either the deletion was announced before the journal was closed, and the claimant reads it and does not seal
what it names, or the announcement fails. A process that was stopped for hours in between finds the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable

from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import PRUNES, Root, generation_dir
from orchestrator.job.protocol.records import JournalEntry
from orchestrator.job.system.atomic import create_json


def announce(root: Root, generation: int, paths: Iterable[str]) -> bool:
    """Announces the deletion of `paths` (relative to the root); False: the journal is closed, delete nothing."""
    directory = _directory(root, generation)
    entry = to_json(JournalEntry(paths=tuple(sorted(paths))))
    number = _last(directory)
    while not create_json(directory / _name(number), entry):
        if _is_closed(directory / _name(number)):
            return False
        number += 1
    # Without hard links an entry can be seen unfinished, and a claimant may have passed by it: it closed the next then.
    return not _is_closed(directory / _name(number + 1))


def close(root: Root, generation: int) -> None:
    """From here on `announce` fails for ever. Closing twice is fine."""
    directory = _directory(root, generation)
    number = _last(directory)
    while not create_json(directory / _name(number), to_json(JournalEntry(closed=True))):
        if _is_closed(directory / _name(number)):
            return
        number += 1


def announced(root: Root, generation: int) -> frozenset[str]:
    """All that the generation announced to delete."""
    directory = generation_dir(root, generation) / PRUNES
    paths: set[str] = set()
    for path in directory.glob("*.json"):
        paths.update(_entry(path).paths)
    return frozenset(paths)


def _directory(root: Root, generation: int) -> Path:
    directory = generation_dir(root, generation) / PRUNES
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _name(number: int) -> str:
    return f"{number:06d}.json"


def _last(directory: Path) -> int:
    """The last number that is taken, or one before it where a network file system's cache is old; 1 when none is."""
    return max((int(path.stem) for path in directory.glob("[0-9]*.json")), default=1)


def _is_closed(path: Path) -> bool:
    return _entry(path).closed


def _entry(path: Path) -> JournalEntry:
    return read(JournalEntry, path) or JournalEntry()
