"""Nodes of a YAML file -> the dataclasses of the model, by their types and the Key of each field.

Types are strict: the text "5" is not a number, true is not an integer; an integer is accepted where a number is wanted.
Everything that is wrong is collected in Problems, with file, line and dotted field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from orchestrator.config.messages import SIZE_WORDS, alternatives, describe, hints_of, members, unknown, wanted
from orchestrator.config.yamlfile import LARGEST, Node, plain
from orchestrator.errors import JobError
from orchestrator.model.key import Key, Pattern, key_of

Rule = Callable[[Any], Iterable[tuple[str, str]]]  # a value of the model -> (key, what is wrong with it)
Variant = Callable[[Node], type[Any]]  # a node -> the type of record that it stands for

SHOWN = 20
SIZE = Pattern(regex="[0-9]+([.][0-9]+)?([KMGT]iB|[kMGT]B)", words=SIZE_WORDS)
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_ENTRY = Key(help="")  # of an item that has no field of its own
BAD: Final = object()


class Problems:
    """What is wrong with a file, in the order of its lines."""

    def __init__(self) -> None:
        self.found: list[JobError] = []

    def add(self, message: str, node: Node, field: str, *, key: str | None = None) -> None:
        """Record a problem with a value, or with one of its keys."""
        file, line = (node.file, node.line) if key is None else node.places[key]
        self.found.append(JobError(message, file=file, line=line, field=field or None))

    def stop_if_any(self) -> None:
        """Raise the first problem as a JobError whose message has the others too, one a line."""
        if not self.found:
            return
        first, *rest = sorted(self.found, key=lambda error: error.line or 0)
        lines = [first.message, *(str(error) for error in rest[: SHOWN - 1])]
        if len(rest) >= SHOWN:
            lines.append(f"... and {len(rest) - SHOWN + 1} more")
        raise JobError("\n".join(lines), file=first.file, line=first.line, field=first.field)


def given(node: Node, keys: Iterable[str]) -> list[str]:
    """Those of the keys that a mapping has with a value."""
    return [key for key in keys if (child := node.child(key)) is not None and child.value is not None]


class Binder:
    """Binds one file. `root` gives the record of all its keys, among which the nearest is suggested.

    `rules` adds checks that types cannot express; `variants` chooses the dataclass that replaces another.
    """

    def __init__(
        self,
        root: Callable[[], type[Any]],
        problems: Problems,
        rules: Mapping[type, Rule],
        variants: Mapping[type, Variant] | None = None,
    ) -> None:
        self.root = root
        self.problems = problems
        self.rules = rules
        self.variants = variants or {}

    def bind(self, node: Node, kind: Any, key: Key = _ENTRY, field: str = "") -> Any:
        """The value that a node stands for, or BAD when problems were found in it."""
        choices = tuple(each for each in members(kind) if each is not NoneType)
        if node.value is None and len(choices) < len(members(kind)):
            return None
        if len(choices) > 1:
            return self._scalar(node, kind, key, field)
        kind = choices[0]
        if is_dataclass(kind):
            return self._record(node, kind, field)
        if kind is Any:
            return self._anything(node, field)
        return self._plain(node, kind, key, field)

    def _plain(self, node: Node, kind: Any, key: Key, field: str) -> Any:
        if get_origin(kind) is Mapping:
            return self._mapping(node, get_args(kind)[1], key, field)
        if get_origin(kind) is tuple:
            return self._list(node, kind, key, field)
        return self._scalar(node, kind, key, field)

    def _bad(self, message: str, node: Node, field: str, *, key: str | None = None) -> Any:
        self.problems.add(message, node, field, key=key)
        return BAD

    def _record(self, node: Node, record: Any, field: str) -> Any:
        rule = self.rules.get(record, lambda _: ())
        if record in self.variants:
            record = self.variants[record](node)
        known = {each.name: each for each in fields(record)}
        if not isinstance(node.value, dict):
            some = ", ".join(known)
            return self._bad(f"wanted a mapping with keys of {some}; found {describe(node)}", node, field)
        before = len(self.problems.found)
        for name in [name for name in node.value if name not in known]:
            shown = len(self.problems.found) < SHOWN  # the search for the nearest is slow for thousands
            message = unknown(name, known, self.root) if shown else "unknown key"
            self.problems.add(message, node, _dot(field, name), key=name)
        values = {}
        for name, of in known.items():
            child = node.value.get(name)
            if child is not None:
                values[name] = self.bind(child, hints_of(record)[name], key_of(of), _dot(field, name))
            elif of.default is MISSING and of.default_factory is MISSING:
                self.problems.add(f"is missing: {wanted(hints_of(record)[name], key_of(of))}", node, _dot(field, name))
        self._choices(node, record, field)
        if len(self.problems.found) > before:
            return BAD
        built = record(**values)
        for name, message in rule(built):
            self.problems.add(message, node.child(name) or node, _dot(field, name))
        return built if len(self.problems.found) == before else BAD

    def _choices(self, node: Node, record: Any, field: str) -> None:
        one: tuple[str, ...] = getattr(record, "exactly_one", ())
        groups: tuple[tuple[str, ...], ...] = getattr(record, "at_most_one", ())
        for group in (one, *groups):
            found = given(node, group)
            if len(found) > 1:
                message = f"stands beside {_dot(field, found[0])}; give only one of {alternatives(group, 'and')}"
                self.problems.add(message, node, _dot(field, found[-1]), key=found[-1])
        if one and not given(node, one):
            self.problems.add(f"wanted a value for {alternatives(one)}, found none", node, field)

    def _mapping(self, node: Node, kind: Any, key: Key, field: str) -> Any:
        if not isinstance(node.value, dict):
            return self._bad(f"wanted {wanted(Mapping, key)}, found {describe(node)}", node, field)
        values = {name: self._entry(name, node, kind, key, field) for name in node.value}
        for name in key.needs:
            child = node.child(name)
            if child is None or not isinstance(child.value, str) or not child.value:
                values[name] = self._bad("wanted text", child or node, _dot(field, name))
        return BAD if BAD in values.values() else values

    def _entry(self, name: str, node: Node, kind: Any, key: Key, field: str) -> Any:
        assert isinstance(node.value, dict)
        dotted = _dot(field, name)
        if name in key.instead:
            nothing, _, why = key.instead[name].partition("; ")
            message = f"cannot be set: {why}" if nothing == "nothing" else f"is set by orch; use {key.instead[name]}"
            return self._bad(message, node, dotted, key=name)
        if key.names and not re.fullmatch(key.names.regex, name):
            return self._bad(f"is not a name here: wanted {key.names.words}", node, dotted, key=name)
        if not _clean(name):
            return self._bad("a key cannot hold a NUL or half a character", node, dotted, key=name)
        child = node.value[name]
        if kind is str and isinstance(child.value, str) and _clean(child.value):
            if key.values and not re.fullmatch(key.values.regex, child.value):
                return self._bad(f"wanted {key.values.words}, found {describe(child)}", child, dotted)
            return child.value  # unlike the text of a field, it may be empty
        return self.bind(child, kind, _ENTRY, dotted)

    def _list(self, node: Node, kind: Any, key: Key, field: str) -> Any:
        if key.one_or_many and isinstance(node.value, str):
            item = self._scalar(node, str, key, field)
            return item if item is BAD else (item,)
        if not isinstance(node.value, tuple) or (key.one_or_many and not node.value):
            return self._bad(f"wanted {wanted(kind, key)}, found {describe(node)}", node, field)
        of = get_args(kind)[0]
        items = tuple(self.bind(item, of, key, f"{field}[{place}]") for place, item in enumerate(node.value))
        return BAD if BAD in items else items

    def _anything(self, node: Node, field: str) -> Any:
        before = len(self.problems.found)
        self._check_anything(node, field)
        return plain(node) if len(self.problems.found) == before else BAD

    def _check_anything(self, node: Node, field: str) -> None:
        if isinstance(node.value, dict):
            for name, child in node.value.items():
                if not _clean(name):
                    self.problems.add("a key cannot hold a NUL or half a character", node, field, key=name)
                self._check_anything(child, _dot(field, name))
        elif isinstance(node.value, tuple):
            for place, child in enumerate(node.value):
                self._check_anything(child, f"{field}[{place}]")
        elif isinstance(node.value, float) and not math.isfinite(node.value):
            self.problems.add(f"wanted a finite number, found {describe(node)}", node, field)
        elif isinstance(node.value, str) and not _clean(node.value):
            self.problems.add(_UNCLEAN, node, field)

    def _scalar(self, node: Node, kind: Any, key: Key, field: str) -> Any:
        value = _accept(node.value, kind, key)
        if value is not BAD:
            return value
        if isinstance(node.value, str) and not _clean(node.value):
            return self._bad(_UNCLEAN, node, field)
        return self._bad(f"wanted {wanted(kind, key)}, found {describe(node)}{_advice(node, kind)}", node, field)


_UNCLEAN = "text cannot hold a NUL or half a character"


def _accept(value: Any, kind: Any, key: Key) -> Any:
    if len(members(kind)) > 1:
        accepted = (_accept(value, each, key) for each in members(kind))
        return next((each for each in accepted if each is not BAD), BAD)
    if get_origin(kind) is Literal:
        return next((each for each in get_args(kind) if type(each) is type(value) and each == value), BAD)
    if kind is str:
        return value if isinstance(value, str) and _matches(value, key.pattern) else BAD
    if kind is bool:
        return value if isinstance(value, bool) else BAD
    if key.unit == "bytes" and isinstance(value, str):
        value = size(value)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return BAD
    return kind(value) if math.isfinite(value) and _within(value, key) else BAD


def size(text: str) -> int | None:
    """Bytes of a text like 80GiB; None if it is not a size."""
    if not re.fullmatch(SIZE.regex, text):
        return None
    number = text.rstrip("kKMGTiB")
    found = int(Decimal(number) * _UNITS[text[len(number) :]])
    return found if found < LARGEST else None


def _within(value: float, key: Key) -> bool:
    return (key.minimum is None or value >= key.minimum) and (key.above is None or value > key.above)


def _matches(text: str, pattern: Pattern | None) -> bool:
    return _clean(text) and bool(text) and (pattern is None or re.fullmatch(pattern.regex, text) is not None)


def _clean(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _advice(node: Node, kind: Any) -> str:
    if isinstance(node.value, str):
        return "; write true or false" if kind is bool and node.value.lower() in _YAML_1_1 else ""
    if isinstance(node.value, float) and node.value.is_integer() and kind is int:
        return f"; write {int(node.value)}"
    return f'; quote it: "{node.text}"' if kind is str and node.text and '"' not in node.text else ""


_YAML_1_1 = frozenset({"yes", "no", "on", "off", "y", "n"})


def _dot(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
