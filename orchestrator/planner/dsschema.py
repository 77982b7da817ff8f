"""What a ds_config may hold: kinds of values and sections, from which `dskeys` builds the table of DeepSpeed's keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
        """What it takes, for errors."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {
            "at least": self.minimum,
            "at most": self.maximum,
            "above": self.above,
            "below": self.below,
        }
        limits = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        return " ".join([_KINDS[self.kind], " and ".join(limits)]).strip()

    def takes(self, value: object) -> bool:
        """Whether a value is one of these. 5e8 is a whole number; true is no number."""
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

    keys: Mapping[str, Value | Section]
    open: bool = False
    auto: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)


FLAG = Value(kind="flag")
WHOLE = Value(kind="whole")
COUNT = Value(kind="whole", minimum=1)
SIZE = Value(kind="whole", minimum=0)
NUMBER = Value(kind="number")
POSITIVE = Value(kind="number", above=0)
NOT_NEGATIVE = Value(kind="number", minimum=0)
SHARE = Value(kind="number", minimum=0, maximum=1)
TEXT = Value(kind="text")
LIST = Value(kind="list")
ANY = Value(kind="any", null=True)
FREE = Section(keys={}, open=True)


def one_of(*choices: str, any_case: bool = False) -> Value:
    """Text that is one of these."""
    return Value(kind="text", choices=choices, any_case=any_case)


def or_null(value: Value) -> Value:
    """The same, and null."""
    return replace(value, null=True)
