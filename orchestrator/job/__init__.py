"""Everything that travels into a job: Python 3.9 and the standard library; `training` alone imports torch.

This folder is the list of what travels, with the packages whose names the scripts and pickles of users hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

_FACES = (".", "submitit", "training")  # packages outside this folder of which __init__.py travels


def modules() -> Iterator[tuple[str, Path]]:
    """(path in the library, path here) of every module, in the order of the former."""
    package = Path(__file__).resolve().parent.parent
    faces = [package / face / "__init__.py" for face in _FACES]
    for path in sorted([*faces, *(package / "job").rglob("*.py")]):
        yield f"orchestrator/{path.relative_to(package).as_posix()}", path
