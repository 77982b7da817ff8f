"""Small JSON files that are either whole or not there, and that survive a power cut once a call has returned."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Mapping

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replaces `path` in one step; with `durable` it is on the disk on return. Raises OSError."""
    temporary = _write_beside(path, value, durable=durable)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_directory(path.parent)


def create_json(path: Path, value: Mapping[str, Any]) -> bool:
    """Creates `path` with its whole content, durably; False when it exists. Of any number of callers one wins.

    Raises OSError for anything but the name being taken.
    """
    return _publish(_write_beside(path, value, durable=True), path, value)


def create_in_place(path: Path, value: Mapping[str, Any]) -> bool:
    """`create_json` where hard links are missing: O_EXCL decides who wins; a reader may find the content unfinished.

    No beginning of a JSON object is itself valid JSON, so `read_json` tells an unfinished file from a whole one.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(_encode(value))
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(path.parent)
    return True


def reserve(path: Path, size: int) -> None:
    """Puts `size` bytes on the disk for what `write_reserved` shall write to `path`. Raises OSError."""
    _reserved(path).write_bytes(b" " * size)


def write_reserved(path: Path, value: Mapping[str, Any]) -> bool:
    """Creates `path` from its reserve; False when it exists. Without a reserve, or a big enough one, as `create_json`.

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
    """Makes the names in `directory` durable, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _publish(temporary: Path, path: Path, value: Mapping[str, Any]) -> bool:
    """Gives a finished file its name, if nobody has it; the temporary name goes in any case."""
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


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _write_beside(path: Path, value: Mapping[str, Any], *, durable: bool) -> Path:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(_encode(value))
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
