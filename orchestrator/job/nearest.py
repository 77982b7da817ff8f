"""The known name that is nearest to a mistyped one."""

from __future__ import annotations

from typing import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of `known`; None when none is similar."""
    from difflib import get_close_matches  # only a mistake pays for the import

    return next(iter(get_close_matches(name, list(known), n=1)), None)
