"""stderr, for people: messages, errors, colour, and one line that is rewritten in place. stdout is for data."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from orchestrator.errors import OrchError
from orchestrator.views.text import Paint, plain

_CODES = {"good": "32", "bad": "31", "warn": "33", "busy": "36", "dim": "2", "strong": "1"}


def painter(stream: TextIO) -> Paint:
    """Colour by role for a terminal that wants it (https://no-color.org), none elsewhere."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return plain
    return lambda text, role: f"\x1b[{_CODES[role]}m{text}\x1b[0m" if role in _CODES and text else text


def say(text: str) -> None:
    """A line for people, on stderr. A reader who closed it loses the talk, never the work."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def warn(text: str) -> None:
    say(f"{painter(sys.stderr)('warning:', 'warn')} {text}")


def show_error(error: OrchError) -> None:
    """`error: ...` and, where there is one, `hint: ...`."""
    paint = painter(sys.stderr)
    say(f"{paint('error:', 'bad')} {error}")
    if error.hint:
        say(f"{paint('hint:', 'busy')} {error.hint}")


def columns(stream: TextIO) -> int | None:
    """The width of a terminal, None for anything else."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


class LiveLine:
    """One line at the bottom of a terminal, rewritten in place; messages scroll past above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = ""

    def show(self, text: str) -> None:
        if text != self._shown:
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()
            self._shown = text

    def above(self, text: str) -> None:
        """Print a line that stays."""
        self._stream.write(f"\r\x1b[2K{text}\n{self._shown}")
        self._stream.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._shown = ""


class Screen:
    """The whole terminal, redrawn in place. What was there before comes back at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stream.write("\x1b[?1049h\x1b[?25l")

    def show(self, lines: Sequence[str]) -> None:
        rows = os.get_terminal_size(self._stream.fileno()).lines
        shown = list(lines) if len(lines) < rows else [*lines[: rows - 2], f"... {len(lines) - rows + 2} more"]
        self._stream.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        self._stream.flush()

    def close(self) -> None:
        self._stream.write("\x1b[?25h\x1b[?1049l")
        self._stream.flush()
