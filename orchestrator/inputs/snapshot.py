"""A snapshot of a user's code directory, as git sees it: what .gitignore leaves out stays out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import JobError
from orchestrator.model.bundle import File

if TYPE_CHECKING:  # as long to import as all the rest, and many directories have no .gitignore
    from pathspec import GitIgnoreSpec

DEFAULT_LIMIT = 64 * 2**20  # bytes
CODE = "code"

_NAMED_BIGGEST = 5
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Files under `code/` in the order of their paths, their bytes in all, and a line for each thing left behind."""

    files: tuple[File, ...]
    bytes: int
    skipped: tuple[str, ...]


def take(directory: Path | str, limit: int = DEFAULT_LIMIT) -> Snapshot:
    """Reads a directory, less .git and what .gitignore files (of its repository, of every level) leave out.

    A symlink that stays inside is read as what it points to. Raises JobError when the directory cannot be read, or
    when it holds more than `limit` bytes: that names the biggest files.
    """
    root = Path(directory)
    if not root.is_dir():
        raise JobError(f"{root} is not a directory", hint="name the directory of your script", field="code")
    walk = _Walk(real_root=root.resolve(), skipped=[])
    try:
        found = sorted(walk.files(root, "", _outer_ignores(root), (walk.real_root,)))
        sizes = {name: path.stat().st_size for name, path in found}
        _refuse_too_big(root, sizes, limit)
        files = tuple(_read(name, path) for name, path in found)
    except OSError as error:
        raise JobError(
            f"{error.filename}: {error.strerror}", hint="make it readable, or list it in .gitignore", field="code"
        ) from error
    total = sum(len(file.content) for file in files)
    return Snapshot(files=files, bytes=total, skipped=tuple(sorted(walk.skipped)))


@dataclass(frozen=True, slots=True)
class _Ignore:
    """One .gitignore; `prefix` is the way from its directory down to the snapshot's root, empty or ending in a slash.

    `base` is the way from the snapshot's root down to its directory, likewise.
    """

    spec: GitIgnoreSpec
    prefix: str = ""
    base: str = ""

    def says(self, name: str) -> bool | None:
        """True: ignored, False: explicitly not, None: no pattern matches. A directory's name ends in a slash."""
        return self.spec.check_file(self.prefix + name[len(self.base) :]).include


def _ignored(name: str, ignores: tuple[_Ignore, ...]) -> bool:
    """The nearest .gitignore with a matching rule decides, as in git."""
    for ignore in reversed(ignores):
        verdict = ignore.says(name)
        if verdict is not None:
            return verdict
    return False


def _outer_ignores(root: Path) -> tuple[_Ignore, ...]:
    """The .gitignore files between the repository's root and `root`; none when they ignore `root` as a whole."""
    real = root.resolve()
    above: list[_Ignore] = []
    repository = next((parent for parent in (real, *real.parents) if (parent / ".git").exists()), real)
    for parent in reversed(real.parents):
        if parent.is_relative_to(repository) and (parent / ".gitignore").is_file():
            prefix = f"{real.relative_to(parent).as_posix()}/"
            above.append(_Ignore(_spec(parent), prefix=prefix))
    return () if _ignored("", tuple(above)) else tuple(above)


def _spec(directory: Path) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    text = (directory / ".gitignore").read_text(encoding="utf-8", errors="surrogateescape")
    return GitIgnoreSpec.from_lines(text.split("\n"))


@dataclass(frozen=True, slots=True)
class _Walk:
    real_root: Path
    skipped: list[str]

    def files(
        self, directory: Path, base: str, ignores: tuple[_Ignore, ...], inside: tuple[Path, ...]
    ) -> Iterator[tuple[str, Path]]:
        """Names (from the root, with slashes) and paths of the files below; `inside` are the directories being read."""
        if (directory / ".gitignore").is_file():
            ignores = (*ignores, _Ignore(_spec(directory), base=base))
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            name, path = base + entry.name, Path(entry.path)
            if entry.name == ".git" or self._leave_behind(name, entry, inside):
                continue
            if entry.is_dir():
                if not _ignored(f"{name}/", ignores):
                    yield from self.files(path, f"{name}/", ignores, (*inside, path.resolve()))
            elif not _ignored(name, ignores):
                yield name, path

    def _leave_behind(self, name: str, entry: os.DirEntry[str], inside: tuple[Path, ...]) -> bool:
        why = _why_not(entry, self.real_root, inside)
        if why:
            self.skipped.append(f"{name!r} {why}" if not name.isprintable() else f"{name} {why}")
        return why is not None


def _why_not(entry: os.DirEntry[str], real_root: Path, inside: tuple[Path, ...]) -> str | None:
    if not _utf8(entry.name):
        return "has a name that is not UTF-8"
    if entry.is_symlink():
        target = Path(entry.path).resolve()
        if not target.is_relative_to(real_root):
            return f"is a symlink that leaves the directory, to {target}"
        if not target.exists():
            return "is a symlink to nothing"
        if target in inside:
            return "is a symlink to a directory that it lies in"
    if not entry.is_dir() and not entry.is_file():
        return "is neither a file nor a directory"
    return None


def _utf8(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _read(name: str, path: Path) -> File:
    executable = bool(path.stat().st_mode & stat.S_IXUSR)
    return File(path=f"{CODE}/{name}", content=path.read_bytes(), executable=executable)


def _refuse_too_big(root: Path, sizes: dict[str, int], limit: int) -> None:
    total = sum(sizes.values())
    if total <= limit:
        return
    biggest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_NAMED_BIGGEST]
    listed = ", ".join(f"{name} ({sizes[name] / _MIB:.1f} MiB)" for name in biggest)
    raise JobError(
        f"{root} holds {total / _MIB:.1f} MiB, more than the {limit / _MIB:.1f} MiB that travel with a job; "
        f"the biggest: {listed}",
        hint="list what the job does not need in .gitignore, or name a smaller directory",
        field="code",
    )
