"""Is a checkpoint proven: by its manifest, or by structure where nobody commits. Says file by file what is wrong."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from orchestrator.job.checkpoints import manifest, structure
from orchestrator.job.checkpoints.layout import files_of, step_of
from orchestrator.job.protocol.files import MANUAL_COMMITS
from orchestrator.job.protocol.records import Commit, FileSum
from orchestrator.job.protocol.report import Problem


@dataclass(frozen=True)
class Verdict:
    """`basis` is "manifest" or "structure"; `digest` is what a claim seals; `step` is None when nothing says one."""

    proven: bool
    basis: str
    step: int | None
    problems: tuple[Problem, ...]
    bytes: int
    digest: str

    @property
    def why(self) -> str:
        """The problems in one line, the first three of them."""
        shown = [f"{problem.file} {problem.what}" for problem in self.problems[:3]]
        more = len(self.problems) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def verify(path: Union[str, Path], *, threads: int = manifest.THREADS, contents: bool = True) -> Verdict:
    """Judges the checkpoint `path`, a directory or a file.

    Without `contents` the sizes in a manifest are compared, not the sums. Raises OSError when it can't be read at all.
    """
    directory = Path(path)
    commit = manifest.read_commit(directory)
    if commit is not None:
        return _by_manifest(directory, commit, threads=threads, contents=contents)
    if manifest.file_of(directory).exists():
        problems: tuple[Problem, ...] = (
            Problem(manifest.file_of(directory).name, "is not a commit manifest: damaged"),
        )
    elif _only_manifests_count(directory):
        problems = (Problem(manifest.file_of(directory).name, "is missing: the save was never finished"),)
    else:
        return _by_structure(directory)
    step, size = step_of(directory), size_of(directory)
    return Verdict(proven=False, basis="manifest", step=step, problems=problems, bytes=size, digest="")


def size_of(directory: Path) -> int:
    """Bytes of all files of a checkpoint."""
    return sum(size for _, size in _sizes(directory))


def _by_manifest(directory: Path, commit: Commit, *, threads: int, contents: bool) -> Verdict:
    base = manifest.base_of(directory)

    def judge(item: tuple[str, FileSum]) -> Problem | None:
        name, wanted = item
        what = _file_problem(base / name, wanted, contents=contents)
        return Problem(name, what) if what else None

    with ThreadPoolExecutor(threads) as pool:
        found = tuple(problem for problem in pool.map(judge, sorted(commit.files.items())) if problem)
    size = sum(entry.size for entry in commit.files.values())
    return Verdict(not found, "manifest", commit.step, found, size, manifest.digest(directory) or "")


def _file_problem(path: Path, wanted: FileSum, *, contents: bool) -> str | None:
    try:
        size = path.stat().st_size
        if size != wanted.size:
            return f"is {size} bytes long, {wanted.size} were committed"
        if contents and manifest.hash_file(path).sha256 != wanted.sha256:
            return "has other content than was committed"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _by_structure(directory: Path) -> Verdict:
    found = structure.problems(directory)
    sizes = _sizes(directory)
    total = hashlib.sha256()
    for name, size in sizes:
        total.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
    return Verdict(
        not found, "structure", step_of(directory), found, sum(size for _, size in sizes), "names:" + total.hexdigest()
    )


def _only_manifests_count(directory: Path) -> bool:
    """Whether `directory` lies in a generation that commits explicitly: below generations/NNNNNN."""
    return any((parent / MANUAL_COMMITS).exists() for parent in directory.resolve().parents)


def _sizes(directory: Path) -> list[tuple[str, int]]:
    found = []
    for path in files_of(directory):
        try:
            found.append((path.relative_to(directory).as_posix(), path.stat().st_size))
        except FileNotFoundError:
            continue  # deleted in between
    return found
