"""Texts for stdout, which is for data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def lines(texts: Iterable[str]) -> str:
    """Each text on a line of its own."""
    return "".join(f"{text}\n" for text in texts)


def one_json(value: Mapping[str, object]) -> str:
    """One value, indented for the eye."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def json_list(values: Iterable[Mapping[str, object]]) -> str:
    """A list, a line for each value: grep finds it whole, and it is written several times faster than indented."""
    return "[" + ",\n ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]\n"
