"""Files as one zip archive and back: the same files are always the same bytes, whatever zlib a machine has."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

from orchestrator.model.bundle import File

_READ, _RUN = 0o100644 << 16, 0o100755 << 16  # a regular file and its mode, as zip keeps them


def pack(files: Iterable[File]) -> bytes:
    """The archive, nothing compressed, in the order of `files`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.path)  # dated 1980, the first that zip knows
            entry.create_system, entry.external_attr = 3, _RUN if file.executable else _READ
            archive.writestr(entry, file.content)
    return content.getvalue()


def unpack(content: bytes) -> tuple[File, ...]:
    """The files in `content`, in their order. Raises zipfile.BadZipFile when it is not a whole archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return tuple(
            File(path=entry.filename, content=archive.read(entry), executable=entry.external_attr == _RUN)
            for entry in archive.infolist()
        )
