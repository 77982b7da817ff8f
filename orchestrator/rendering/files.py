"""Bundle files: paths checked, bytes ended, order fixed."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle, File

_EXECUTABLE = (".sh", ".sbatch")


def text_file(path: str, text: str) -> File:
    """A rendered file: ends with one newline; scripts are executable."""
    return File(path=path, content=(text.rstrip("\n") + "\n").encode(), executable=path.endswith(_EXECUTABLE))


def make_bundle(files: Iterable[File]) -> Bundle:
    """The files in the order of their paths. Raises JobError for a path that leaves the bundle or is there twice."""
    ordered = sorted(files, key=lambda file: file.path)
    seen: set[str] = set()
    for file in ordered:
        parts = file.path.split("/")
        if any(part in {"", ".", ".."} for part in parts):
            raise JobError(f"{file.path!r} cannot be a file of a bundle: the path is not a plain relative one")
        if file.path in seen:
            raise JobError(f"{file.path!r} is in the bundle twice", hint="rename the file in your code directory")
        seen.add(file.path)
    return Bundle(files=tuple(ordered))
