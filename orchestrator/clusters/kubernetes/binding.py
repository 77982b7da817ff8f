"""Reads JSON objects of the Kubernetes API into dataclasses whose fields say where in the object they are. Pure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NewType, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from orchestrator.errors import Unreachable

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Manifest: TypeAlias = dict[str, Any]  # an object that is written; only its schema on the server knows its fields
Quantity = NewType("Quantity", str)  # 8, 500m, 200Gi: custom resources have them as numbers, too
_NAMES = {bool: "true or false", int: "a whole number", str: "a string", list: "a list", dict: "an object"}


class Malformed(Unreachable):
    """A value in an answer has a type that the API does not have there."""


def path(where: str, default: Any = "") -> Any:
    """A field's place in the JSON object, as in status.phase; `default` where the object has nothing there, or null."""
    metadata = {"path": where.split(".")}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read(kind: type[T], document: object) -> T:
    """The object as a dataclass (or as a plain dict). Raises Malformed with the object's name and the field."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    hint: Any = kind
    value: T = _reader(hint)(document, f"{kind.__name__} {name} " if name else f"{kind.__name__} ")
    return value


_Reader = Callable[[Any, str], Any]


@functools.cache
def _reader(hint: Any) -> _Reader:
    """Reads a value of a type; `where` it is, for messages."""
    inner = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _class_reader(hint)
    if type(None) in inner:
        return _reader(inner[0])
    if get_origin(hint) is tuple:
        item = _reader(inner[0])
        return lambda value, where: tuple(
            item(one, f"{where}[{place}]") for place, one in enumerate(_checked(list, value, where))
        )
    if get_origin(hint) is Mapping:
        item = _reader(inner[1])
        return lambda value, where: {
            key: item(one, f"{where}.{key}") for key, one in _checked(dict, value, where).items() if one is not None
        }
    if hint is Quantity:
        return lambda value, where: str(value if isinstance(value, int | float) else _checked(str, value, where))
    return functools.partial(_checked, hint)


def _class_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    fields = [(one.name, one.metadata["path"], _reader(hints[one.name])) for one in dataclasses.fields(kind)]

    def read_fields(document: Any, where: str) -> Any:
        _checked(dict, document, where)
        found = {}
        for name, keys, reader in fields:
            value, place = document, where
            for key in keys:
                value, place = _checked(dict, value, place).get(key), f"{place}.{key}"
                if value is None:
                    break
            else:
                found[name] = reader(value, place)
        return kind(**found)

    return read_fields


def _checked(wanted: type[T], value: object, where: str) -> T:
    if not isinstance(value, wanted):
        raise Malformed(f"the API server answered {where.strip()} = {value!r:.100}, which should be {_NAMES[wanted]}")
    return value
