"""A cluster more in the text of a configuration file. All else stays as it was, comments and order too. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from orchestrator.config.scaffold import quoted
from orchestrator.errors import JobError

INDENT = "  "
_Entry = tuple[yaml.Node, yaml.Node]  # key and value


def with_cluster(text: str, name: str, profile: Mapping[str, object], *, replace: bool = False) -> str:
    """Add a cluster to a configuration file's text, keeping comments and order.

    The text must be one that `configfile` reads. The caller reads the result before it writes it: a text that cannot be
    edited this way gives another value. Raises JobError for a name that is taken.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None or _is_null(root):
        head = text if not text or text.endswith("\n") else f"{text}\n"
        return f"{head}clusters:\n{_block(name, profile, INDENT)}"
    if not isinstance(root, yaml.MappingNode):
        raise _by_hand(name, profile)
    clusters = _entry(root, "clusters")
    if clusters is None:
        return _insert(text, root, "clusters", {name: profile})
    below = clusters[1]
    if not isinstance(below, yaml.MappingNode):
        raise _by_hand(name, profile)
    known = _entry(below, name)
    if known is None:
        return _insert(text, below, name, profile)
    if not replace:
        raise JobError(f"there is a cluster {name} already", hint="--replace writes it anew")
    return _put(text, known, name, profile, flow=bool(below.flow_style))


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _by_hand(name: str, profile: Mapping[str, object]) -> JobError:
    return JobError(
        "the configuration file cannot be edited by orch: what is there is not a mapping",
        hint=f"write it there yourself, below clusters: {line(name, profile)}",
    )


def line(name: str, profile: Mapping[str, object]) -> str:
    """A cluster on one line, to be inserted by hand."""
    return _flow(name, profile)


def _entry(mapping: yaml.MappingNode, name: str) -> _Entry | None:
    """The nodes of a key and its value."""
    return next(((key, value) for key, value in mapping.value if key.value == name), None)


def _insert(text: str, mapping: yaml.MappingNode, name: str, value: Mapping[str, object]) -> str:
    """The text with a key more: at the end of a mapping in block style, at the start of one in braces."""
    if mapping.flow_style:
        place = mapping.start_mark.index + 1
        comma = ", " if mapping.value else ""
        return f"{text[:place]}{_flow(name, value)}{comma}{text[place:]}"
    first = mapping.value[0][0]
    place = _after_line(text, _end(text, mapping))
    before = "" if text[:place].endswith("\n") else "\n"
    return f"{text[:place]}{before}{_block(name, value, _indent(first))}{text[place:]}"


def _put(text: str, entry: _Entry, name: str, value: Mapping[str, object], *, flow: bool) -> str:
    """The text with another value for a key that it has; `flow`: in a mapping in braces."""
    key, old = entry
    start, end = int(key.start_mark.index), _end(text, old)
    if flow:
        return f"{text[:start]}{_flow(name, value)}{text[end:]}"
    indent = _indent(key)
    return f"{text[: start - len(indent)]}{_block(name, value, indent)}{text[_after_line(text, end) :]}"


def _end(text: str, node: yaml.Node) -> int:
    """The end of a node's own text: of its last leaf, since a block's end is where the next one starts."""
    while not getattr(node, "flow_style", True) and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    end = int(node.end_mark.index)
    while isinstance(node, yaml.ScalarNode) and end > node.start_mark.index and text[end - 1] in "\r\n":
        end -= 1  # a block scalar ends where the next line begins
    return end


def _after_line(text: str, place: int) -> int:
    """Where the line after a place begins, past a comment on it."""
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _indent(node: yaml.Node) -> str:
    return " " * int(node.start_mark.column)


def _block(name: str, value: Any, indent: str) -> str:
    """`name: value` in block style, each line ended."""
    if isinstance(value, Mapping) and value:
        return f"{indent}{quoted(name)}:\n" + "".join(_block(key, one, indent + INDENT) for key, one in value.items())
    return f"{indent}{_flow(name, value)}\n"


def _flow(name: str, value: Any) -> str:
    return f"{quoted(name)}: {_value(value)}"


def _value(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(_flow(key, one) for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
