"""ds_config.json files, with the line of every value: JSON, and all that DeepSpeed's own reader, hjson, takes besides.

That is: `#`, `//` and `/* */` comments, commas that trail or are left out at a line's end, quotes left out around keys
and around text up to its line's end, single quotes, and no braces around the whole. `Infinity` is what Python's JSON
takes, and with it transformers and accelerate; it is read as the largest number, which every reader of JSON knows.
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_right
from pathlib import Path

from orchestrator.config.yamlfile import LARGEST, MAX_DEPTH, MAX_KEY, MAX_VALUES, Node, Scalar, decode, read
from orchestrator.errors import JobError

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_WORDS = {"null": None, "true": True, "false": False, "Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*|//[^\n]*|/\*[\s\S]*?\*/)*")
_PLAIN_END = re.compile(r"[,}\]#\r\n]|//|/\*|$")
_STRING = re.compile(r"""[^"'\\\x00-\x1f]*""")
_ESCAPES = {**{char: char for char in "\"'\\/"}, "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_KEY = re.compile(r"[^\s{}\[\],:]+")


def read_mapping(name: Node, directory: Path, field: str) -> Node:
    """The object in the file that the node of a field names, relative to a directory. Raises JobError."""
    path = str(directory / str(name.value))
    try:
        data = read(path)
    except JobError as error:
        raise JobError(f"{path} {error.message}", file=name.file, line=name.line, field=field) from None
    try:
        return parse_json(data, path)
    except JobError as error:
        inside = f"{field}.{error.field}" if error.field else field
        raise JobError(error.message, file=path, line=error.line, field=inside) from None


def parse_json(data: bytes, file: str) -> Node:
    """The object of a file. Raises JobError with file and line."""
    return _Reader(decode(data, file), file).document()


class _Reader:
    """Reads one text from its start to its end; `inside` are the keys around the value that is being read."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.values = 0
        self.inside: list[str] = []
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Node:
        start = self._next()
        if not start:
            raise self._syntax("it is empty")
        if start == "[":
            raise JobError("wanted a JSON object, found a list", file=self.file, line=self._line(self.at))
        node = self._members(closed=True) if start == "{" else self._members(closed=False)
        if self._next():
            raise self._syntax("wanted nothing after the object")
        return node

    def _next(self) -> str:
        """The next character that is neither space nor comment, empty at the end."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        if self.text.startswith("/*", self.at):
            raise self._syntax("the comment never ends")
        return self.text[self.at : self.at + 1]

    def _line(self, position: int) -> int:
        return bisect_right(self.newlines, position - 1) + 1

    def _syntax(self, message: str) -> JobError:
        return JobError(f"is not JSON: {message}", file=self.file, line=self._line(self.at))

    def _error(self, message: str, key: str | None = None) -> JobError:
        field = ".".join([*self.inside, *([key] if key is not None else [])])
        return JobError(message, file=self.file, line=self._line(self.at), field=field or None)

    def _members(self, *, closed: bool) -> Node:
        """A mapping. `closed`: with braces, as all but the whole must be."""
        line = self._line(self.at)
        self.at += closed
        children: dict[str, Node] = {}
        places: dict[str, tuple[str, int | None]] = {}
        end = "}" if closed else ""
        while (char := self._next()) != end:
            if not char:
                raise self._syntax("the object never ends; is a } missing?")
            place = self._line(self.at)
            key = self._key(char)
            if key in children:
                raise self._error(f"the key {key[:60]} stands here twice, first in line {places[key][1]}", key)
            if self._next() != ":":
                raise self._syntax("wanted : after a key")
            self.at += 1
            self.inside.append(key)
            children[key] = self._value()
            self.inside.pop()
            places[key] = (self.file, place)
            if self._next() == ",":
                self.at += 1
        self.at += closed
        return Node(children, self.file, line, places=places)

    def _key(self, char: str) -> str:
        if char in "\"'":
            key = self._string(char)
        else:
            match = _KEY.match(self.text, self.at)
            if match is None:
                raise self._syntax(f"wanted a key, found {char}")
            key, self.at = match.group(), match.end()
        if len(key) > MAX_KEY:
            raise self._error(f"the key {key[:57]}... is longer than {MAX_KEY} characters")
        return key

    def _value(self) -> Node:
        char, line = self._next(), self._line(self.at)
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._error(f"has more than {MAX_VALUES} values")
        if char in ("{", "[") and len(self.inside) >= MAX_DEPTH:
            raise self._error(f"is nested deeper than {MAX_DEPTH} levels")
        if char == "{":
            return self._members(closed=True)
        if char == "[":
            return self._items()
        if self.text.startswith("'''", self.at):
            raise self._error("text in ''' is not read here; write it in quotes")
        if char and char in "\"'":
            return Node(self._string(char), self.file, line)
        return self._plain(char, line)

    def _items(self) -> Node:
        line = self._line(self.at)
        self.at += 1
        items: list[Node] = []
        self.inside.append("")
        while (char := self._next()) != "]":
            if not char:
                raise self._syntax("the list never ends; is a ] missing?")
            self.inside[-1] = str(len(items))
            items.append(self._value())
            if self._next() == ",":
                self.at += 1
        self.inside.pop()
        self.at += 1
        return Node(tuple(items), self.file, line)

    def _string(self, quote: str) -> str:
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            chunk = _STRING.match(self.text, self.at)
            assert chunk is not None
            parts.append(chunk.group())
            self.at = chunk.end()
            char = self.text[self.at : self.at + 1]
            if char == quote:
                self.at += 1
                return _joined("".join(parts))
            if char in ("", "\n", "\r"):
                self.at = start
                raise self._syntax("the text never ends; is a quote missing?")
            if char < " ":
                raise self._syntax(f"a text holds the character U+{ord(char):04X}; write it as \\u{ord(char):04x}")
            parts.append(self._escape() if char == "\\" else char)
            self.at += 1

    def _escape(self) -> str:
        """The character of an escape, whose last character becomes the place."""
        self.at += 1
        char = self.text[self.at : self.at + 1]
        if char == "u" and re.fullmatch("[0-9a-fA-F]{4}", self.text[self.at + 1 : self.at + 5]):
            self.at += 4
            return chr(int(self.text[self.at - 3 : self.at + 1], 16))
        if char not in _ESCAPES or not char:
            raise self._syntax(f"\\{char} is no escape; a backslash itself is \\\\")
        return _ESCAPES[char]

    def _plain(self, char: str, line: int) -> Node:
        """A number or a word, up to the next comma, bracket or comment; any other text goes on to the line's end."""
        if not char or char in "}],:":
            raise self._syntax(f"wanted a value, found {char or 'the end'}")
        end = _PLAIN_END.search(self.text, self.at)
        assert end is not None
        word = self.text[self.at : end.start()].strip()
        if word in _WORDS or _NUMBER.fullmatch(word):
            value = self._scalar(word)
            self.at = end.start()
            return Node(value, self.file, line, text=word)
        newline = self.text.find("\n", self.at)
        rest = self.text[self.at : None if newline < 0 else newline].strip()
        if rest[-1] in ",}]":
            raise self._syntax(f"wanted a value, found {word[:60]}; text needs quotes")
        self.at = len(self.text) if newline < 0 else newline
        return Node(rest, self.file, line)

    def _scalar(self, word: str) -> Scalar:
        if word in _WORDS:
            value = _WORDS[word]
        elif re.fullmatch("-?[0-9]+", word):
            value = int(word) if len(word) <= len(str(-LARGEST)) else LARGEST
            if abs(value) >= LARGEST:
                raise self._error(f"the integer {word[:24]}... is beyond 64 bits")
            return value
        else:
            value = float(word)
        if isinstance(value, float) and math.isnan(value):
            raise self._syntax("NaN is not a number")
        return math.copysign(sys.float_info.max, value) if isinstance(value, float) and math.isinf(value) else value


def _joined(text: str) -> str:
    r"""Halves of a character that were escaped one by one (\ud83d\ude00) as the character."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
