"""Bundle: the exact bytes handed over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a bundle. `path` is relative, with forward slashes."""

    path: str
    content: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Files in the order of their paths; `digest` is SHA-256 over every path, mode and content, as hex."""

    files: tuple[File, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        total = hashlib.sha256()
        for file in self.files:
            head = f"{file.path}\0{int(file.executable)}\0{len(file.content)}\0"
            total.update(head.encode() + file.content)
        object.__setattr__(self, "digest", total.hexdigest())

    def text(self, path: str) -> str:
        """The text of one file; KeyError when the bundle has none of that path."""
        for file in self.files:
            if file.path == path:
                return file.content.decode()
        raise KeyError(path)
