"""A Kubernetes object as YAML that readers of YAML 1.1 and of 1.2 understand alike: every text is quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.rendering import quoting

_PLAIN_KEY = re.compile("[a-z][a-zA-Z]*")
_NO_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})  # to one reader or another


def read(text: str) -> Any:
    """The value of one document."""
    import yaml  # only for those who have an overlay

    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both of them are safe


def write(value: Mapping[str, object]) -> str:
    """The document of a mapping, in its own order."""
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, object]) -> Iterator[str]:
    for key, child in value.items():
        name = key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _NO_TEXT else quoting.yaml(key)
        if _is_block(child):
            yield f"{name}:"
            yield from (f"  {line}" for line in _block(child))
        else:
            yield f"{name}: {quoting.yaml(child)}"


def _sequence(value: Sequence[Any]) -> Iterator[str]:
    for child in value:
        first, *rest = _block(child) if _is_block(child) else [quoting.yaml(child)]
        yield f"- {first}"
        yield from (f"  {line}" for line in rest)


def _block(value: Any) -> Iterator[str]:
    return _mapping(value) if isinstance(value, Mapping) else _sequence(value)


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)
