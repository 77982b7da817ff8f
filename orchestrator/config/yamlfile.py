"""YAML 1.2 (core schema) read strictly: every value knows its file and line.

Unlike YAML 1.1, `yes`, `no`, `on` and `n` are text here, `3e-4` is a number and `24:00:00` is text. Refused: duplicate
keys, keys that are not text, merge keys, tags of one's own, cyclic aliases, and anything beyond the limits below, which
hold however small the file is. Nothing recurses over the input, so no nesting can exhaust the stack.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.errors import JobError

MAX_BYTES = 256 << 10
MAX_DEPTH = 64
MAX_KEY = 256
LARGEST = 2**63  # integers are smaller
MAX_VALUES = 10_000  # with every alias written out

Scalar = str | int | float | bool | None
Place = tuple[str, int | None]  # file and line

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; `places` are those of a mapping's keys. `text` is a plain scalar as it was written."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    file: str
    line: int | None = None
    text: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)

    def child(self, key: str) -> Node | None:
        """The value under a key; None if this is not a mapping or has no such key."""
        return self.value.get(key) if isinstance(self.value, dict) else None


def plain(node: Node) -> Any:
    """The value as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


def find(root: Node, field: str) -> Place:
    """The place of a dotted field, or of the nearest thing around it that is there."""
    node, place = root, (root.file, root.line)
    names = re.sub(r"\[[0-9]+\]", "", field).split(".")
    while names:
        # A key may have dots itself, as names of clusters and of labels do.
        known = (end for end in range(len(names), 0, -1) if node.child(".".join(names[:end])) is not None)
        end = next(known, None)
        if end is None:
            return place
        name, names = ".".join(names[:end]), names[end:]
        place = node.places[name]
        node = node.child(name) or node
    return place


def placed(error: JobError, root: Node) -> JobError:
    """The same error with the file and line of its field, where a later stage knew only the field."""
    file, line = error.file, error.line
    if file is None:
        file, line = (root.file, None) if error.field is None else find(root, error.field)
    others = [placed(other, root) for other in error.others]
    return JobError(error.message, hint=error.hint, file=file, line=line, field=error.field, others=others)


def located(value: Any, file: str, line: int | None = None) -> Node:
    """The opposite of `plain`: all of a JSON-like value at one place."""
    if isinstance(value, Mapping):
        children = {key: located(child, file, line) for key, child in value.items()}
        return Node(children, file, line, places=dict.fromkeys(children, (file, line)))
    if isinstance(value, list | tuple):
        return Node(tuple(located(child, file, line) for child in value), file, line)
    return Node(value, file, line, text="" if isinstance(value, str) else str(value))


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file of at most MAX_BYTES. Raises JobError when it is not a file that can be read."""
    name = os.fspath(path)
    try:
        # A FIFO without a writer would block; O_NONBLOCK changes nothing for a regular file.
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise JobError("wanted a regular file, found a device, pipe or socket", file=name)
            data = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise JobError("wanted a file, found a directory", file=name) from None
    except ValueError:
        raise JobError("a file name cannot hold a NUL byte", file=name.replace("\0", "\\0")) from None
    except OSError as error:
        raise JobError(f"cannot be read: {error.strerror or error}", file=name) from None
    if len(data) > MAX_BYTES:
        raise JobError(f"is larger than {MAX_BYTES >> 10} KiB; a file of this kind has a few lines", file=name)
    return data


def parse(data: bytes, file: str) -> Node:
    """The one document of a YAML text, an empty one being null. Raises JobError with file and line."""
    return _Composer(file).compose(decode(data, file))


def scalar(text: str) -> Scalar:
    """What a plain scalar means in the core schema. Raises ValueError for an integer beyond 64 bits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        if len(text) > 80:
            raise ValueError(text)
        number = int(text, 10) if _INTEGER.fullmatch(text) else int(text, 0)
        if abs(number) >= LARGEST:
            raise ValueError(text)
        return number
    return float(text) if _FLOAT.fullmatch(text) else text


def decode(data: bytes, file: str) -> str:
    """The text of a file of UTF-8. Raises JobError with file and line."""
    if len(data) > MAX_BYTES:
        raise JobError(f"is larger than {MAX_BYTES >> 10} KiB", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JobError(f"is not UTF-8: byte 0x{data[error.start]:02x}", file=file, line=line) from None
    if "\0" in text:
        raise JobError(
            "holds a NUL byte; is it a text file?", file=file, line=text.count("\n", 0, text.index("\0")) + 1
        )
    return text


@dataclass(slots=True)
class _Open:
    """A collection that is still being read. `keys` is None for a sequence."""

    line: int
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    keys: dict[str, int | None] | None = None
    key_next: bool = False
    size: int = 1


class _Composer:
    """Events of one text -> Node, with a stack of its own."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int] | None] = {}  # None: still open
        self.values = 0
        self.root: Node | None = None

    def compose(self, text: str) -> Node:
        for event in self._events(text):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
                raise self._error("wanted one document, found a second one after `---`", line)
            if isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor), line)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
        return self.root or Node(None, self.file, 1)

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = min(mark.line, text.count("\n")) + 1 if mark else None
            raise self._error(f"is not YAML: {_problem(error, text, line)}", line) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error(
                f"holds the character U+{ord(_char(error)):04X}, which YAML does not allow", line
            ) from None

    def _error(self, message: str, line: int | None, key: str | None = None) -> JobError:
        """The error of a value, or of a key in the mapping that is being read."""
        inside = [list(parent.keys)[-1] for parent in self.open if parent.keys and not parent.key_next]
        field = ".".join([*inside, *([key] if key is not None else [])])
        return JobError(message, file=self.file, line=line, field=field or None)

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self.anchors:
            raise self._error(f"the alias *{anchor} names no anchor above it", line)
        known = self.anchors[anchor]
        if known is None:
            raise self._error(f"the alias *{anchor} stands inside its own anchor: an endless value", line)
        self._count(known[1], line)
        self._add(known[0], line, known[1])

    def _count(self, values: int, line: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise self._error(f"has more than {MAX_VALUES} values, counting what aliases repeat", line)

    def _scalar(self, event: Any, line: int) -> None:
        self._count(1, line)
        node = Node(self._value(event, line), self.file, line, event.value if event.implicit[0] else "")
        if event.anchor:
            self.anchors[event.anchor] = (node, 1)
        self._add(node, line, 1)

    def _value(self, event: Any, line: int) -> Scalar:
        tag = event.tag
        if tag in _TEXT_TAGS or (tag is None and not event.implicit[0]):
            return str(event.value)
        if tag is not None:
            raise self._error(f"the tag {_short(tag)} is not used here; leave it out", line)
        try:
            return scalar(event.value)
        except ValueError:
            raise self._error(f"the integer {event.value[:24]}... is beyond 64 bits", line) from None

    def _start(self, event: Any, line: int) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag is not None:
            raise self._error(f"the tag {_short(event.tag)} is not used here; leave it out", line)
        if self.open and self.open[-1].key_next:
            raise self._error("wanted text as a key, found a mapping or list; is a value with { or [ unquoted?", line)
        if len(self.open) >= MAX_DEPTH:
            raise self._error(f"is nested deeper than {MAX_DEPTH} levels", line)
        self._count(1, line)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open(line, event.anchor, keys={} if mapping else None, key_next=mapping))

    def _end(self) -> None:
        done = self.open.pop()
        if done.keys is None:
            node = Node(tuple(done.children), self.file, done.line)
        else:
            places = {key: (self.file, line) for key, line in done.keys.items()}
            node = Node(dict(zip(done.keys, done.children, strict=True)), self.file, done.line, places=places)
        if done.anchor:
            self.anchors[done.anchor] = (node, done.size)
        self._add(node, done.line, done.size)

    def _add(self, node: Node, line: int, size: int) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += size
        if parent.keys is not None and parent.key_next:
            self._key(parent.keys, node, line)
        else:
            parent.children.append(node)
        parent.key_next = parent.keys is not None and not parent.key_next

    def _key(self, keys: dict[str, int | None], node: Node, line: int) -> None:
        key = node.value
        if not isinstance(key, str):
            raise self._error(f"wanted text as a key, found {node.text or 'nothing'}; quote it", line)
        if len(key) > MAX_KEY:
            raise self._error(f"the key {_short(key)} is longer than {MAX_KEY} characters", line)
        if key == "<<" and node.text:
            raise self._error("merge keys (<<) are not YAML 1.2; write the keys out", line)
        if key in keys:
            raise self._error(f"the key {_short(key)} stands here twice, first in line {keys[key]}", line, key)
        keys[key] = line


def _problem(error: Any, text: str, line: int | None) -> str:
    problem = " ".join(part for part in (error.context, error.problem) if part)
    lines = text.split("\n")
    if line is not None and line <= len(lines) and re.match(r" *\t", lines[line - 1]):
        return f"{problem} (a tab; indent with spaces)"
    return problem


def _char(error: Any) -> str:
    return error.character if isinstance(error.character, str) else chr(error.character)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
