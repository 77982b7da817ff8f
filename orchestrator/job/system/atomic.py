"""Files that are either whole or not there. One temporary name, one rename, one place that syncs.

`sync` says whether the content is on the disk when the call returns, so that it survives a power cut: True for a record
that somebody acts on (a claim, a proof, how an attempt ended), False for what is only looked at (a heartbeat, progress)
or can be made again (a rendered bundle, a mirror). A sync costs milliseconds on a disk and more on a network.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any, Iterator, Mapping

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool) -> Iterator[Path]:
    """A name beside `path` for a new file, link or directory, which takes the place of `path` after the block.

    Nothing is left of it when the block or the rename fails. Raises OSError.
    """
    temporary = _beside(path)
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise
    if sync:
        fsync_directory(path.parent)


def write(path: Path, content: bytes, *, sync: bool, mode: int | None = None) -> None:
    """Replace `path` in one step. With a `mode`, only its owner can read it before it has that mode. Raises OSError."""
    with replacing(path, sync=False) as temporary:
        _write_new(temporary, content, sync=sync, mode=mode)
    if sync:
        fsync_directory(path.parent)


def write_json(path: Path, value: Mapping[str, object], *, sync: bool = True) -> None:
    """Replace `path` in one step. Raises OSError."""
    write(path, _encode(value), sync=sync)


def create_json(path: Path, value: Mapping[str, object]) -> bool:
    """Create `path` with its whole content, synced; False when it exists. Of any number of callers one wins.

    Raises OSError for anything but the name being taken.
    """
    temporary = _beside(path)
    try:
        _write_new(temporary, _encode(value), sync=True)
    except OSError:
        _remove(temporary)
        raise
    return _publish(temporary, path, value)


def create_in_place(path: Path, value: Mapping[str, object]) -> bool:
    """`create_json` where hard links are missing: O_EXCL decides who wins; a reader may find the content unfinished.

    No beginning of a JSON object is itself valid JSON, so `read_json` tells an unfinished file from a whole one.
    """
    try:
        _write_new(path, _encode(value), sync=True)
    except FileExistsError:
        return False
    fsync_directory(path.parent)
    return True


def reserve(path: Path, size: int) -> None:
    """Put `size` bytes on the disk for what `write_reserved` shall write to `path`. Raises OSError."""
    _reserved(path).write_bytes(b" " * size)


def write_reserved(path: Path, value: Mapping[str, object]) -> bool:
    """Create `path` from its reserve; False when it exists. Without a reserve, or a big enough one, as `create_json`.

    Raises OSError.
    """
    content, place = _encode(value), _reserved(path)
    try:
        room = place.stat().st_size
    except FileNotFoundError:
        room = 0
    if len(content) > room:
        return create_json(path, value)
    with place.open("r+b") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return _publish(place, path, value)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None when there is none, or none that is whole. Raises OSError when it can't be read."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def fsync_directory(directory: Path) -> None:
    """Sync the names in `directory`, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _publish(temporary: Path, path: Path, value: Mapping[str, object]) -> bool:
    """Give a finished file its name, unless it is taken; the temporary name goes in any case."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if temporary.stat().st_nlink > 1:
            pass  # the link was made and a network file system lost the answer
        elif error.errno == errno.EEXIST:
            return False
        elif error.errno in _NO_HARD_LINKS:
            return create_in_place(path, value)
        else:
            raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)
    return True


def _reserved(path: Path) -> Path:
    return path.with_name(f".{path.name}.reserve")


def _encode(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def _write_new(path: Path, content: bytes, *, sync: bool, mode: int | None = None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if mode is not None:
            os.fchmod(descriptor, mode)
        if sync:
            os.fsync(descriptor)


def _sync(path: Path) -> None:
    """Sync a file, or a directory with all that is in it."""
    if path.is_dir():
        for inside in path.iterdir():
            _sync(inside)
        fsync_directory(path)
    else:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
