"""Deletes whatever lies at a path: a file, a link, or a directory with all that it holds."""

from __future__ import annotations

import shutil
from pathlib import Path


def remove(path: Path, *, missing_ok: bool = False) -> None:
    """Never follows a link. Raises OSError, for what is not there only without `missing_ok`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=missing_ok)
