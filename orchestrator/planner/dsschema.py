"""The table of DeepSpeed's keys, `ds_keys.json`, as sections and kinds of values.

tools/dskeys.py writes the table from DeepSpeed's own models; tools/ds_keys.toml explains its notation.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

Kind = Literal["flag", "whole", "number", "text", "list", "any"]

_KINDS: Mapping[Kind, str] = {
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
    "text": "text",
    "list": "a list",
    "any": "a value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value: its kind and range. `choices` are compared without regard to case where `any_case` says so."""

    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    any_case: bool = False
    null: bool = False

    def describe(self) -> str:
        """What it takes, in words for an error."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {"at least": self.minimum, "at most": self.maximum, "above": self.above, "below": self.below}
        limits = [f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None]
        return " ".join([_KINDS[self.kind], " and ".join(limits)]).strip()

    def takes(self, value: object) -> bool:
        """Whether it takes a value. 5e8 is a whole number; true is not a number."""
        if value is None:
            return self.null
        return _OF_KIND[self.kind](value) and self._in_range(value)

    def _in_range(self, value: object) -> bool:
        if isinstance(value, str) and self.choices:
            return value in self.choices or (self.any_case and value.lower() in {c.lower() for c in self.choices})
        if not isinstance(value, int | float) or isinstance(value, bool):
            return True
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


_OF_KIND: Mapping[Kind, Callable[[Any], bool]] = {
    "flag": lambda value: isinstance(value, bool),
    "whole": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "text": lambda value: isinstance(value, str),
    "list": lambda value: isinstance(value, list | tuple),
    "any": lambda _: True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A mapping of keys. `open`: other keys pass unchecked. `auto`: DeepSpeed reads `auto` in it as its own default.

    `renamed`: other names that DeepSpeed takes for a key. `removed`: keys it no longer takes, and what to do instead.
    """

    keys: dict[str, Value | Section]
    open: bool = False
    auto: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Every key that DeepSpeed reads, and the version that reads it."""

    deepspeed: str
    config: Section


@functools.cache
def table() -> Table:
    """The table, read from its file when a job first has raw keys."""
    raw = json.loads(Path(__file__).with_name("ds_keys.json").read_text())
    values = {kind: _value(kind) for kinds in raw["keys"].values() for kind in kinds}
    sections = {path: _section(path, raw, values) for path in raw["keys"]}
    for path, section in sections.items():
        above, _, key = path.rpartition(".")
        if path:
            sections[above].keys[key] = section
    return Table(deepspeed=raw["deepspeed"], config=sections[""])


def _section(path: str, raw: Mapping[str, Any], values: Mapping[str, Value]) -> Section:
    def within(names: Mapping[str, str]) -> dict[str, str]:
        split = [(name.rpartition("."), text) for name, text in names.items()]
        return {key: text for (above, _, key), text in split if above == path}

    return Section(
        keys={key: values[kind] for kind, keys in raw["keys"][path].items() for key in keys.split()},
        open=path in raw["open"],
        auto=path in raw["auto"],
        renamed=within(raw["renamed"]),
        removed=within(raw["removed"]),
    )


def _value(notation: str) -> Value:
    """`whole? >=1` is a whole number from 1, or null; `a|b any-case` is text, one of these."""
    kind, *_ = notation.split()
    name = kind.rstrip("?")
    bounds = {sign: float(number) for sign, number in re.findall(r"([<>]=?)(\S+)", notation)}
    return Value(
        kind=cast("Kind", name) if name in get_args(Kind) else "text",
        minimum=bounds.get(">="),
        maximum=bounds.get("<="),
        above=bounds.get(">"),
        below=bounds.get("<"),
        choices=() if name in get_args(Kind) else tuple(name.split("|")),
        any_case="any-case" in notation,
        null=kind.endswith("?") or kind == "any",
    )
