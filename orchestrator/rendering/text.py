"""Refuses what no file of a bundle can hold, and names the field it stands in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from orchestrator.errors import JobError


def refuse_unwritable(value: object, field: str) -> None:
    """Raises JobError for the first string with a NUL or a lone surrogate, number that JSON lacks, or key not a string.

    `field` is the dotted name of `value`, empty for the whole job.
    """
    for name, problem in _problems(value, field):
        raise JobError(problem, field=name)


def _problems(value: object, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if "\0" in value:
            yield field, "holds a NUL character, which no environment or argument can carry"
        elif not _encodable(value):
            yield field, "is not Unicode text: it holds half of a surrogate pair"
    elif isinstance(value, float) and not math.isfinite(value):
        yield field, f"is {value}, which JSON cannot write"
    else:
        for name, child in _children(value):
            if isinstance(name, str):
                yield from _problems(name, field)
                yield from _problems(child, f"{field}.{name}".removeprefix("."))
            else:
                yield field, f"has the key {name!r}, which is not a string: put it in quotes"


def _children(value: object) -> Iterator[tuple[object, object]]:
    if is_dataclass(value) and not isinstance(value, type):
        yield from ((item.name, getattr(value, item.name)) for item in fields(value))
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from ((str(index), child) for index, child in enumerate(value))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
