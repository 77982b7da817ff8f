"""Replaces a function of a library by one that calls it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


class UnknownVersion(Exception):
    """The library has no such function, or it takes other arguments than those that are known."""


def wrap(owner: Any, name: str, around: Callable[..., Any], *arguments: str) -> None:
    """Has `owner.name(...)` call `around(original, ...)`. `arguments`: names that the original must take.

    Raises UnknownVersion; then nothing is replaced.
    """
    original = getattr(owner, name, None)
    if original is None:
        raise UnknownVersion(f"it has no {name}")
    known = inspect.signature(original).parameters
    missing = [argument for argument in arguments if argument not in known]
    if missing:
        raise UnknownVersion(f"its {name} takes no {missing[0]}")

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, replaced)
