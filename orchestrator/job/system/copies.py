"""A file a second time under another name: of the same blocks where the file system can, else a link, else a copy."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

_CLONE = 0x40049409  # FICLONE of linux/fs.h


def link(source: Path, target: Path) -> None:
    """Makes `target` the same content as the file `source`, which nobody changes any more. Raises OSError."""
    if not _clone(source, target):
        try:
            os.link(source, target, follow_symlinks=True)
        except OSError:  # another file system, none with links, or a file that another user owns
            shutil.copy2(source, target)


def copy(source: Path, target: Path) -> None:
    """Makes `target` a file of its own with the content of `source`. Raises OSError."""
    if not _clone(source, target):
        shutil.copy2(source, target)


def _clone(source: Path, target: Path) -> bool:
    """Whether the file system has made `target` from the blocks of `source`, to be copied when one is written."""
    with source.open("rb") as origin:
        try:
            with target.open("xb") as clone:
                fcntl.ioctl(clone.fileno(), _CLONE, origin.fileno())
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            return False
    shutil.copystat(source, target)
    return True
