"""The table of DeepSpeed's keys, `ds_keys.json`, as sections and kinds of values.

tools/dskeys.py writes the table from DeepSpeed's own models; tools/ds_keys.toml explains its notation.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

Kind = Literal["flag", "whole", "number", "numbers", "text", "texts", "list", "mapping", "any"]

_KINDS: Mapping[Kind, str] = {
    "flag": "true or false",
    "whole": "a whole number",
    "number": "a number",
    "numbers": "a number or a list of numbers",
    "text": "text",
    "texts": "text or a list of texts",
    "list": "a list",
    "mapping": "a mapping",
    "any": "a value",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value: its kind and range. `choices` are compared without regard to case where `any_case` says so.

    `auto`: the word itself is a value. `no_flag`: true and false are not read as 1 and 0.
    """

    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    any_case: bool = False
    auto: bool = False
    no_flag: bool = False
    null: bool = False

    def describe(self) -> str:
        """What it takes, in words for an error."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {"at least": self.minimum, "at most": self.maximum, "above": self.above, "below": self.below}
        limits = [f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None]
        return " ".join([_KINDS[self.kind], " and ".join(limits)]).strip()

    def read(self, value: Any, *, lax: bool) -> Any:
        """The value as this kind, or NOTHING when it is none. 5e8 is a whole number; 1 is true, but true is not 1.

        `lax`: as DeepSpeed's models read it, which take the text of a number or of a flag as well.
        """
        if value is None:
            return None if self.null else NOTHING
        if value == "auto" and self.auto:
            return value
        if isinstance(value, bool) and self.no_flag:
            return NOTHING
        found = _LAX.get(self.kind, _STRICT[self.kind])(value) if lax else _STRICT[self.kind](value)
        return found if found is not NOTHING and self._in_range(found) else NOTHING

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


NOTHING: Final = object()

_LARGEST_WHOLE = 2**63 - 1
_FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else NOTHING


def _whole(value: Any) -> Any:
    """What is larger than 64 bits is the largest number: `Infinity` of a file means never, or no limit."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NOTHING
    if math.isinf(value):
        return _LARGEST_WHOLE if value > 0 else -_LARGEST_WHOLE
    if value % 1:
        return NOTHING
    return max(-_LARGEST_WHOLE, min(int(value), _LARGEST_WHOLE))


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else NOTHING


def _lax_flag(value: Any) -> Any:
    return _FLAGS.get(value.lower(), NOTHING) if isinstance(value, str) else _flag(value)


def _lax_whole(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return int(value.partition(".")[0]) if re.fullmatch(r"\s*[-+]?[0-9]+(_[0-9]+)*([.]0*)?\s*", value) else NOTHING
    return _whole(value) if abs(_number_or_zero(value)) <= _LARGEST_WHOLE else NOTHING


def _lax_number(value: Any) -> Any:
    if isinstance(value, str):
        return (
            float(value)
            if re.fullmatch(r"\s*[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?\s*", value)
            else NOTHING
        )
    return float(value) if isinstance(value, bool) else _number(value)


def _numbers(value: Any) -> Any:
    many = isinstance(value, list | tuple) and value and all(_number(each) is not NOTHING for each in value)
    return value if many else _number(value)


def _texts(value: Any) -> Any:
    many = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return value if many or isinstance(value, str) else NOTHING


def _number_or_zero(value: Any) -> float:
    found = _number(value)
    return 0 if found is NOTHING else found


def _of(*kinds: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kinds) else NOTHING


_STRICT: Mapping[Kind, Callable[[Any], Any]] = {
    "flag": _flag,
    "whole": _whole,
    "number": _number,
    "numbers": _numbers,
    "text": _of(str),
    "texts": _texts,
    "list": _of(list, tuple),
    "mapping": _of(Mapping),
    "any": lambda value: value,
}
_LAX: Mapping[Kind, Callable[[Any], Any]] = {"flag": _lax_flag, "whole": _lax_whole, "number": _lax_number}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A mapping of keys. `open`: other keys pass unchecked, for they are the user's own.

    `auto`: DeepSpeed has a model of it, which reads `auto` as the default and refuses a key that it does not know; in
    other sections it ignores such a key. `null`: null is as good as no section.
    `renamed`: other names that DeepSpeed takes for a key. `removed`: keys it no longer takes, and what to do instead.
    """

    keys: dict[str, Value | Section]
    open: bool = False
    auto: bool = False
    null: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """An optimizer and its parameters, None where they are not known.

    `takes` has them by what else decides: `""` at first, `offload`, `torch_adam`. `any_case`: its name has no case.
    `zero`: ZeRO takes it without `zero_allow_untested_optimizer`.
    """

    any_case: bool
    zero: bool
    takes: Mapping[str, tuple[str, ...]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """The parameters of a scheduler, and those without a default."""

    takes: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Every key that DeepSpeed reads, its optimizers and schedulers by name, and the version that reads them."""

    deepspeed: str
    config: Section
    optimizers: Mapping[str, Optimizer]
    removed_optimizers: Mapping[str, str]
    schedulers: Mapping[str, Scheduler]

    def optimizer(self, name: str) -> Optimizer | None:
        """The optimizer that DeepSpeed makes for a name: its own in any case, torch's as it is written."""
        found = self.optimizers.get(name)
        others = (one for own, one in self.optimizers.items() if one.any_case and own.lower() == name.lower())
        return found or next(others, None)


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
    return Table(
        deepspeed=raw["deepspeed"],
        config=sections[""],
        optimizers={name: _optimizer(one) for name, one in raw["optimizers"].items()},
        removed_optimizers=raw["removed_optimizers"],
        schedulers={
            name: Scheduler(takes=tuple(one["takes"].split()), needs=tuple(one["needs"].split()))
            for name, one in raw["schedulers"].items()
        },
    )


def _optimizer(raw: Mapping[str, Any]) -> Optimizer:
    takes = raw["takes"]
    return Optimizer(
        any_case=raw["any_case"],
        zero=raw["zero"],
        takes=None if takes is None else {variant: tuple(names.split()) for variant, names in takes.items()},
    )


def _section(path: str, raw: Mapping[str, Any], values: Mapping[str, Value]) -> Section:
    def within(names: Mapping[str, str]) -> dict[str, str]:
        split = [(name.rpartition("."), text) for name, text in names.items()]
        return {key: text for (above, _, key), text in split if above == path}

    return Section(
        keys={key: values[kind] for kind, keys in raw["keys"][path].items() for key in keys.split()},
        open=path in raw["open"],
        auto=path in raw["auto"],
        null=path in raw["null"],
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
        auto=" auto" in notation,
        no_flag="no-flag" in notation,
        null=kind.endswith("?") or kind == "any",
    )
