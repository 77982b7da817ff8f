"""Records as JSON objects and back, by the annotations of their dataclasses. Pure.

A key that a dataclass does not have is ignored and a missing key takes the field's default, so that adjacent releases
read each other's records. A record with a higher `format` than this version knows is refused.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping as MappingType
from enum import Enum
from functools import lru_cache
from typing import Any, Callable, Mapping, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from orchestrator.job.protocol.errors import RecordError

T = TypeVar("T")

OMIT: Mapping[str, object] = {"omit": True}  # metadata of a field whose key is left out while its value is None
_Reader = Callable[[object], Any]


class NewerFormatError(RecordError):
    """A record of a newer version of orch."""


def newest(number: int) -> Mapping[str, object]:
    """Metadata of a record's field `format`: the newest number that this version reads."""
    return {"newest": number}


def to_json(record: Any) -> dict[str, object]:
    """The JSON object of a record: its fields in their order, by name."""
    found: dict[str, object] = {}
    kind: Any = type(record)
    for name, omit in _names(kind):
        value = getattr(record, name)
        if value is not None or not omit:
            found[name] = _plain(value)
    return found


def from_json(kind: type[T], value: object, where: str = "") -> T:
    """The record of type `kind` that a JSON value holds. Raises RecordError, which names `where`."""
    try:
        record: T = _read_record(kind, value)
    except RecordError as error:
        raise error.within(where=where) from None
    return record


def parse(kind: type[T], text: Union[str, bytes], where: str = "") -> T:
    """The record in a JSON text. Raises RecordError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RecordError("", "a JSON object", f"no JSON ({error})", where) from error
    return from_json(kind, value, where)


def fields_of(kind: type, values: Mapping[str, object]) -> dict[str, Any]:
    """Some fields of a record as their types; keys that it does not have are left out. Raises RecordError."""
    readers, nullable = _readers(kind), _nullable(kind)
    known = {name: value for name, value in values.items() if name in readers}
    return {
        name: None if value is None else _read_field(name, readers[name], value)
        for name, value in known.items()
        if value is not None or name in nullable
    }


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, MappingType):
        return {key if isinstance(key, str) else str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value


@lru_cache(maxsize=None)
def _names(kind: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((field.name, "omit" in field.metadata) for field in dataclasses.fields(kind))


@lru_cache(maxsize=None)
def _readers(kind: Any) -> Mapping[str, _Reader]:
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind) if field.init}


@lru_cache(maxsize=None)
def _defaults(kind: Any) -> Mapping[str, bool]:
    """Whether each field has a default."""
    missing = dataclasses.MISSING
    return {
        field.name: field.default is not missing or field.default_factory is not missing
        for field in dataclasses.fields(kind)
    }


@lru_cache(maxsize=None)
def _nullable(kind: Any) -> frozenset[str]:
    return frozenset(name for name, hint in get_type_hints(kind).items() if hint is Any or type(None) in get_args(hint))


def _read_record(kind: Any, value: object) -> Any:
    if not isinstance(value, MappingType):
        raise RecordError("", "a JSON object", _shown(value))
    defaults, nullable = _defaults(kind), _nullable(kind)
    _check_format(kind, value.get("format"))
    found = {}
    for name, read in _readers(kind).items():
        inner = value.get(name)
        if inner is not None:
            found[name] = _read_field(name, read, inner)
        elif name in nullable and (name in value or not defaults[name]):
            found[name] = None
        elif not defaults[name]:
            raise RecordError(name, "a value", "null" if name in value else "no such key")
    return kind(**found)


def _check_format(kind: Any, found: object) -> None:
    """Before anything else of a record: what a newer version writes may be of other types."""
    field = kind.__dataclass_fields__.get("format")
    known = field.metadata.get("newest") if field is not None else None
    if isinstance(known, int) and isinstance(found, int) and found > known:
        raise NewerFormatError("format", f"{known} at most", f"{found}, written by a newer orch")


def _read_field(name: str, read: _Reader, value: object) -> Any:
    try:
        return read(value)
    except RecordError as error:
        raise error.within(name) from None


def _reader(hint: Any) -> _Reader:  # noqa: PLR0911 - one for each kind of type
    """What turns a JSON value into a value of a type."""
    if hint is Any or hint is object:
        return lambda value: value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return _optional(_reader(next(one for one in arguments if one is not type(None))))
    if origin is tuple:
        return _tuple(_reader(arguments[0]))
    if origin is not None and issubclass(origin, MappingType):
        return _mapping(arguments[0], _reader(arguments[1]))
    if dataclasses.is_dataclass(hint):
        return lambda value: _read_record(hint, value)
    if issubclass(hint, Enum):
        return _enum(hint)
    return _bytes if hint is bytes else _scalar(hint)


def _scalar(kind: type) -> _Reader:
    allowed = (int, float) if kind is float else kind

    def read(value: object) -> Any:
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise RecordError("", _WORDS[kind], _shown(value))
        return value

    return read


def _optional(inner: _Reader) -> _Reader:
    return lambda value: None if value is None else inner(value)


def _tuple(inner: _Reader) -> _Reader:
    def read(value: object) -> Any:
        if not isinstance(value, (list, tuple)):
            raise RecordError("", "a list", _shown(value))
        return tuple(_read_field(str(index), inner, item) for index, item in enumerate(value))

    return read


def _mapping(key: type, inner: _Reader) -> _Reader:
    def read(value: object) -> Any:
        if not isinstance(value, MappingType):
            raise RecordError("", "a JSON object", _shown(value))
        return {_key(key, name): _read_field(str(name), inner, item) for name, item in value.items()}

    return read


def _key(kind: type, name: object) -> Any:
    if kind is int:
        if not str(name).isdigit():
            raise RecordError("", "numbers as keys", _shown(name))
        return int(str(name))
    return name


def _enum(kind: type[Enum]) -> _Reader:
    def read(value: object) -> Any:
        try:
            return kind(value)
        except ValueError:
            words = ", ".join(str(one.value) for one in kind)
            raise RecordError("", f"one of {words}", _shown(value)) from None

    return read


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError:
        raise RecordError("", "base64", _shown(value)) from None


_WORDS: Mapping[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _shown(value: Optional[object]) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
