"""Where checkpoints lie below a root, and what their names say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.job.checkpoints import manifest
from orchestrator.job.protocol.files import GENERATIONS, MANUAL_COMMITS, Root, checkpoints_dir, generation_dir

_STEP_NAME = re.compile(r"checkpoint-(\d+)")
_TAG_STEP = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Place:
    """A directory that is or was to become a checkpoint. Generation 0: it is from before orch."""

    path: str
    step: int
    generation: int
    committed: bool  # it has a commit manifest
    manual: bool  # its generation commits explicitly: without a manifest nothing is proven


def own_places(root: Root, generation: int) -> list[Place]:
    """The checkpoints that a generation has in its own directory, committed or not."""
    manual = (generation_dir(root, generation) / MANUAL_COMMITS).exists()
    return _places(Path(root), checkpoints_dir(root, generation), generation, manual=manual)


def foreign_places(root: Root) -> list[Place]:
    """The checkpoints at the top of the root: from before orch."""
    return _places(Path(root), Path(root), 0, manual=False)


def latest_tag(directory: Path) -> str | None:
    """What DeepSpeed's `latest` in `directory` says; None when there is no such file."""
    try:
        return (directory / "latest").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def step_of(directory: Path) -> int | None:
    """The step that the name of a checkpoint directory, or of the tag in it, says."""
    match = _STEP_NAME.fullmatch(directory.name) or _TAG_STEP.search(latest_tag(directory) or "")
    return int(match.group(1)) if match else None


def generation_of(path: str) -> int:
    """The generation that a path relative to the root lies in; 0: none, it is from before orch."""
    parts = path.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[0] == GENERATIONS and parts[1].isdigit() else 0


def files_of(directory: Path) -> list[Path]:
    """The files of a checkpoint, in order. Where DeepSpeed saved right into a directory, only what `latest` names."""
    tag = latest_tag(directory)
    if tag is None or _STEP_NAME.fullmatch(directory.name):
        found = list(directory.rglob("*"))
    else:
        found = [directory / "latest", *((directory / tag).rglob("*") if tag else ())]
    return sorted(path for path in found if path.is_file())


def _places(root: Path, parent: Path, generation: int, *, manual: bool) -> list[Place]:
    try:
        children = sorted(entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
    # A script may call DeepSpeed's save_checkpoint on the whole directory: then the directory itself is the checkpoint.
    bare = [parent] if latest_tag(parent) is not None else []
    found = []
    for directory in bare + children:
        commit = manifest.read_commit(directory)
        named = directory in bare or _STEP_NAME.fullmatch(directory.name) is not None
        step = commit.step if commit else step_of(directory) if named else None
        if step is not None and (commit is None or generation in {commit.generation, 0}):
            path = directory.relative_to(root).as_posix()
            found.append(Place(path, step, generation, commit is not None, manual))
    return found
