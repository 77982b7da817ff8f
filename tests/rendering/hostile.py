"""Strings that break naive templates, and values of the model that hold them in every field that takes text."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal

from hypothesis import strategies as st

from orchestrator.model.key import Key, Pattern, key_of

WORDS = (
    "two words",
    "it's",
    'say "hi"',
    "$(touch /tmp/orch-was-here)",
    "`id`",
    "$HOME ${HOME} $$ $(HOME) $(POD_UID)",
    "line\nbreak",
    "\n",
    " ",
    "\ttab\r",
    "{{ job.name }}",
    "{% raw %}{# x #}",
    "{// x //}",
    "ünïcödé 🚀 \u2028\u2029\x85\xa0\ufeff",
    "-rf",
    "--flag=x",
    "yes",
    "no",
    "n",
    "null",
    "~",
    "0x10",
    "0o7",
    "1e3",
    "1_000",
    ".inf",
    "2026-01-01",
    "12:30:45",
    "- item",
    "key: value",
    "# comment",
    "&anchor",
    "*alias",
    "!tag",
    "%d %j %%",
    "@file",
    "a\\b\\\\",
    "\\",
    "'\\''",
    ";rm -rf /",
    "|&><!",
    "*?[a-z]",
    "\x01\x07\x1b[31m\x7f\x80\x9f\ufffe\uffff",
    "EOF\n",
    "]}",
    "",
)

# Everything that a file can hold: NUL and lone surrogates are refused, with a test of their own.
TEXT = st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
_LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
    )


WITHOUT_FLOATS = _nested(_LEAVES)
JSON_VALUES = _nested(_LEAVES | st.floats(allow_nan=False, allow_infinity=False))


def values(kind: type, /, **given: Any) -> st.SearchStrategy[Any]:
    """Values of a dataclass of the model. Text is as hostile as the field's own pattern lets through."""
    hints = typing.get_type_hints(kind)
    made = {item.name: _of(hints[item.name], key_of(item)) for item in fields(kind)}
    return st.builds(kind, **{**made, **{name: _as_strategy(value) for name, value in given.items()}})


def _as_strategy(value: Any) -> st.SearchStrategy[Any]:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


def _of(hint: Any, key: Key) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*(_of(argument, key) for argument in arguments))
    if origin is tuple:
        return st.lists(_of(arguments[0], key), max_size=3).map(tuple)
    if origin is Mapping:
        names = text_of(key.names) if key.names else TEXT
        items = text_of(key.values) if key.values else _item(arguments[1])
        return st.dictionaries(names.filter(lambda name: name not in key.instead), items, max_size=3)
    if is_dataclass(hint):
        return values(hint)
    return {
        str: text_of(key.pattern),
        bool: st.booleans(),
        int: st.integers(int(key.minimum or 0), 10**6),
        float: st.floats(1e-9, 1e9),
        type(None): st.none(),
    }[hint]


def _item(hint: Any) -> st.SearchStrategy[Any]:
    if hint is str:
        return TEXT
    return values(hint) if is_dataclass(hint) else JSON_VALUES


@cache
def text_of(pattern: Pattern | None) -> st.SearchStrategy[str]:
    """Text that a pattern lets through, the most hostile first."""
    if pattern is None:
        return TEXT
    whole = re.compile(pattern.regex)
    let_through = [word for raw in WORDS for word in (raw, f"/{raw}", raw.replace("\n", "")) if whole.fullmatch(word)]
    strict = st.from_regex(whole, fullmatch=True).filter(lambda text: "\0" not in text)
    return st.one_of(st.sampled_from(let_through), strict) if let_through else strict
