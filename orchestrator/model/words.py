"""The words of a command line as a shell would take them apart, with its variables left in them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.job.protocol.jobfile import VARIABLE

_OPERATOR = re.compile(r"\|\|?|&&|&>|&|;|\d?>[>&]?\d?|<+")
_FOR_A_SHELL = tuple("({0123456789@*#?!")  # after a dollar
_BLANK = " \t\r\n"
_ESCAPED = '$`"\\'  # by a backslash between double quotes
_ADVICE = "put the command into a script (run: bash train.sh), or quote what is part of an argument"


@dataclass(frozen=True, slots=True)
class Line:
    """`words`: $NAME and ${NAME} are variables in them, and $$ is a dollar. `problems`: what needs a shell."""

    words: tuple[str, ...]
    problems: tuple[str, ...]


def split(text: str) -> Line:
    """The words of a text: quotes, backslashes and `~/` as in a shell; a dollar in single quotes is a dollar."""
    reader = _Reader(text.strip())
    reader.read()
    operators = ", ".join(dict.fromkeys(reader.operators))
    needed = [f"{operators} can only be said to a shell, and orch starts none; {_ADVICE}"] if operators else []
    return Line(tuple(reader.words), tuple(dict.fromkeys([*reader.problems, *needed])))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: str | None = None  # that is being read
        self.words: list[str] = []
        self.problems: list[str] = []
        self.operators: list[str] = []

    def read(self) -> None:
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in _BLANK:
                self._blank()
            elif char == "\\":
                self._backslash()
            elif char == "'":
                self._single()
            elif char == '"':
                self._double()
            elif char == "~" and self._open is None and (self._next() or "/") in "/" + _BLANK:
                self._take("$HOME")
            else:
                self._plain(char)
        self._end()

    def _next(self) -> str:
        return self._text[self._at + 1 : self._at + 2]

    def _take(self, text: str, width: int = 1) -> None:
        self._open = (self._open or "") + text
        self._at += width

    def _end(self) -> None:
        if self._open is not None:
            self.words.append(self._open)
        self._open = None

    def _blank(self) -> None:
        self._end()
        rest = self._text[self._at :].lstrip(_BLANK)
        gap = self._text[self._at : len(self._text) - len(rest)]
        if "\n" in gap and not rest.startswith("-"):
            self.problems.append(
                f"a new line begins another command; end the one before with a backslash, or {_ADVICE}"
            )
        self._at += len(gap)

    def _backslash(self) -> None:
        after = self._next()
        if after == "" or (after in _BLANK and self._open is None) or after == "\n":
            self._at += 1 + len(after)  # the command goes on; YAML may have folded the end of the line into a blank
        else:
            self._take(_literal(after), 2)

    def _single(self) -> None:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._unclosed("'")
        else:
            self._take(_literal(self._text[self._at + 1 : end]), end + 1 - self._at)

    def _double(self) -> None:
        self._take("")
        while self._at < len(self._text):
            char, after = self._text[self._at], self._next()
            if char == '"':
                self._at += 1
                return
            if char == "\\" and after == "\n":
                self._at += 2
            elif char == "\\" and after and after in _ESCAPED:
                self._take(_literal(after), 2)
            elif char in "$`":
                self._plain(char)
            else:
                self._take(char)
        self._unclosed('"')

    def _plain(self, char: str) -> None:
        """What stands in no quotes, and a dollar or a backtick in double ones."""
        if char == "$":
            self._dollar()
        elif char == "`":
            self._needs_shell("`")
        else:
            found = _OPERATOR.match(self._text, self._at) if char in "|&;<>" or self._open is None else None
            if found:
                self._needs_shell(found.group())
            else:
                self._take(char)

    def _dollar(self) -> None:
        variable = VARIABLE.match(self._text, self._at)
        if variable:
            self._take(variable.group(), len(variable.group()))
        elif self._next().startswith(_FOR_A_SHELL):
            self._needs_shell(self._text[self._at : self._at + 2])
        else:
            self._take("$$")

    def _needs_shell(self, text: str) -> None:
        self.operators.append(text)
        self._at += len(text)

    def _unclosed(self, quote: str) -> None:
        self.problems.append(f"is not a command line: no closing quotation mark {quote}")
        self._at = len(self._text)


def _literal(text: str) -> str:
    return text.replace("$", "$$")
