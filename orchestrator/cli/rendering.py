"""Bundles on disk: a new directory appears at once and whole, an older rendering is replaced file by file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.job.system import atomic
from orchestrator.model.bundle import Bundle, File

MARK = ".orch-rendered"  # lists the files that orch wrote; without a suffix, or kubectl apply -f would read it


def write(bundle: Bundle, directory: str, *, force: bool) -> None:
    """Write a bundle. What else lies in an older rendering, such as a run started by hand, stays.

    Raises JobError when the directory holds other files and not `force`, or cannot be written.
    """
    target = Path(directory)
    try:
        entries = sorted(entry.name for entry in target.iterdir()) if target.exists() else []
        if entries and MARK not in entries and not force:
            raise JobError(
                f"{target} is not empty and not a rendering of orch's: it holds {_some(entries)}",
                hint="give a new or empty directory, or --force to write there all the same",
            )
        if entries:
            _replace(bundle, target)
        else:
            _create(bundle, target)
    except OSError as error:
        place = error.filename or target
        raise JobError(
            f"cannot write the job's files to {place}: {error.strerror}", hint="choose another -o DIR"
        ) from error


def _create(bundle: Bundle, target: Path) -> None:
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(target, sync=False) as temporary:
        for file in _with_mark(bundle):
            _write(file, temporary / file.path)


def _replace(bundle: Bundle, target: Path) -> None:
    before = _listed(target)
    for file in _with_mark(bundle):
        place = target / file.path
        with atomic.replacing(place, sync=False) as temporary:
            _write(file, temporary)
    for path in sorted(before - {file.path for file in bundle.files}):
        (target / path).unlink(missing_ok=True)


def _listed(target: Path) -> set[str]:
    """The files of the older rendering. Only names below the directory are believed."""
    try:
        lines = (target / MARK).read_text(encoding="utf-8").splitlines()[1:]
    except FileNotFoundError:
        return set()
    return {line for line in lines if line and not Path(line).is_absolute() and ".." not in Path(line).parts}


def _with_mark(bundle: Bundle) -> Sequence[File]:
    lines = [bundle.digest, *(file.path for file in bundle.files)]
    return (*bundle.files, File(path=MARK, content="".join(f"{line}\n" for line in lines).encode()))


def _write(file: File, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(0o755 if file.executable else 0o644)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
