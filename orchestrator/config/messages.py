"""What was wanted and what was found, in words: for errors and for the reference pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from orchestrator.config.synonyms import OF_A_PROFILE, SYNONYMS
from orchestrator.config.yamlfile import Node
from orchestrator.job.nearest import nearest
from orchestrator.model.key import Key

SIZE_WORDS = "a size like 80GiB"


@cache
def hints_of(record: type) -> Mapping[str, object]:
    """The resolved type of each field of a dataclass."""
    return get_type_hints(record)


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a union is made of; any other type alone."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def alternatives(words: Iterable[object], last: str = "or") -> str:
    """As in `a, b or c`."""
    *head, tail = (str(word) for word in words)
    return f"{', '.join(head)} {last} {tail}" if head else tail


def describe(node: Node) -> str:
    """What was found, short enough for one line."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict | tuple):
        size = f"of {len(value)}" if value else "that is empty"
        return f"a {'mapping' if isinstance(value, dict) else 'list'} {size}"
    if isinstance(value, str):
        return f"the text {json.dumps(_short(value), ensure_ascii=False)}"
    return _short(node.text) if node.text else json.dumps(value)


def wanted(kind: Any, key: Key) -> str:
    """What a field of this type takes."""
    return alternatives(dict.fromkeys(word for each in members(kind) for word in _wanted(each, key)))


def _wanted(kind: Any, key: Key) -> list[str]:
    text = key.pattern.words if key.pattern else "text"
    if kind is NoneType:
        return []
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if (get_origin(kind) or kind) is tuple:
        many = "a list of texts" if get_args(kind)[:1] == (str,) else "a list of mappings"
        return ["text", many] if key.one_or_many else [many]
    if is_dataclass(kind) or (get_origin(kind) or kind) in (Mapping, Any):
        return [*(["text"] if key.shorthand else ["a file name"] if key.from_file else []), "a mapping"]
    return {str: [text], bool: ["true", "false"]}.get(kind) or _wanted_number(kind, key)


def _wanted_number(kind: Any, key: Key) -> list[str]:
    limit = f" of at least {key.minimum}" if key.minimum is not None else ""
    limit += f" above {key.above}" if key.above is not None else ""
    return [("a whole number" if kind is int else "a number") + limit, *([SIZE_WORDS] if key.unit else [])]


def unknown(name: str, known: Iterable[str], root: Callable[[], type[Any]]) -> str:
    """Says that a key is unknown, and which key it may have been meant to be."""
    every = tuple(dotted_keys(root()))
    if SYNONYMS.get(name) in every:
        return f"unknown key; did you mean {SYNONYMS[name]}?"
    if near := nearest(_short(name), known):
        return f"unknown key; did you mean {near}?"
    elsewhere = [dotted for dotted in every if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"unknown key here; did you mean {alternatives(elsewhere)}?"
    if name in OF_A_PROFILE and "run" in every:
        return "unknown key; that is said in the profile of a cluster, in the configuration file (orch clusters add)"
    return f"unknown key; the keys here are {', '.join(known)}"


def dotted_keys(record: type, prefix: str = "") -> Iterator[str]:
    """Every key of a dataclass and of those inside it, as in `training.steps`; `*` stands for a name of one's own."""
    for of in fields(record):
        dotted = prefix + of.name
        yield dotted
        for kind in members(hints_of(record)[of.name]):
            if is_dataclass(kind):
                assert isinstance(kind, type)
                yield from dotted_keys(kind, dotted + ".")
            elif get_origin(kind) is Mapping and is_dataclass(entry := get_args(kind)[1]):
                assert isinstance(entry, type)
                yield from dotted_keys(entry, dotted + ".*.")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
