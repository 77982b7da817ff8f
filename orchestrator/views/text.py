"""Text of a known width: cells, wrapped fields, bars. Colour is a function passed in and applied last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Paint = Callable[[str, str], str]  # text and role (good, bad, warn, busy, dim, strong) -> text

LABEL = 13  # columns of a field's label


def plain(text: str, role: str) -> str:  # noqa: ARG001 - a Paint that has no colours
    """No colour."""
    return text


def clean(text: str) -> str:
    """On one line, without the control characters by which a log line could manipulate a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters; the middle is cut."""
    if len(text) <= width:
        return text
    if width < 2:
        return text[:width]
    head = (width - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def field(label: str, text: str, width: int | None, paint: Paint = plain, role: str = "") -> str:
    """`label   text`, wrapped under itself at `width` (None: not wrapped). Long words such as paths stay whole."""
    first, *more = wrapped(text, None if width is None else width - LABEL)
    painted = [paint(line, role) if role else line for line in (first, *more)]
    return paint(f"{label:<{LABEL}}", "dim") + f"\n{' ' * LABEL}".join(painted)


def wrapped(text: str, room: int | None) -> list[str]:
    """Lines of at most `room` columns (None: as long as they are), at least one; line ends of the text remain."""
    lines = [clean(line) for line in text.splitlines()] or [""]
    if room is None:
        return lines
    return [part for line in lines for part in _wrap(line, max(20, room))]


def bar(part: float, whole: float, width: int, *, unicode: bool = True) -> str:
    """A bar of `width` characters: ━━━━╸───."""
    done = min(1.0, max(0.0, part / whole if whole else 0.0)) * width
    full = int(done)
    if not unicode:
        return "#" * full + "." * (width - full)
    half = "╸" if done - full >= 0.5 else ""
    return "━" * full + half + "─" * (width - full - len(half))


def listing(lines: Sequence[str]) -> str:
    """Lines, each ended."""
    return "".join(f"{line}\n" for line in lines)


def _wrap(line: str, room: int) -> list[str]:
    import textwrap  # the table of all runs wraps nothing and starts faster without it

    return textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
