"""The known name that is nearest to a mistyped one."""

from __future__ import annotations

from typing import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of `known`; None when none is similar."""
    from difflib import get_close_matches  # only a mistake pays for the import

    return next(iter(get_close_matches(name, list(known), n=1)), None)


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """The known name that was surely meant: a slip or two away, fewer in a short name; None when there is none."""
    wanted = name.lower()
    slips = 1 if len(name) < 8 else 2
    close = [one for one in known if abs(len(one) - len(name)) <= slips and len(name) > 3]
    return min(
        (one for one in close if _distance(wanted, one.lower()) <= slips),
        key=lambda one: _distance(wanted, one.lower()),
        default=None,
    )


def _distance(one: str, other: str) -> int:
    """Characters to insert, remove, replace or swap with a neighbour to make one text of the other."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, char in enumerate(one, start=1):
        line = [row]
        for column, theirs in enumerate(other, start=1):
            cost = min(line[-1] + 1, last[column] + 1, last[column - 1] + (char != theirs))
            if row > 1 and column > 1 and char == other[column - 2] and one[row - 2] == theirs:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]
