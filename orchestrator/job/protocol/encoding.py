"""Records as JSON objects and back, by the annotations of their dataclasses. Pure.

A key that a dataclass does not have is ignored and a missing key takes the field's default, so that adjacent releases
read each other's records. A record with a higher `format` than this version knows is refused. A field may say with
metadata `path` which keys lead to it in the JSON object.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping as MappingType
from enum import Enum
from functools import lru_cache
from typing import Any, Callable, Mapping, NamedTuple, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

from orchestrator.job.protocol.errors import RecordError

T = TypeVar("T")

OMIT: Mapping[str, object] = {"omit": True}  # metadata of a field whose key is left out while its value is the default
FLAT: Mapping[str, object] = {"path": (), "flat": True}  # of a field whose own keys stand in the record's JSON object
_ALWAYS = object()  # equals no value of a field
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
    for name, unless, flat in _names(kind):
        value = getattr(record, name)
        if flat:
            found.update(_plain(value))
        elif value != unless:
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
    return {
        field.name: None if value is None else _read_field(field.keys, field.read, value)
        for field in _fields(kind)
        if field.name in values and ((value := values[field.name]) is not None or field.nullable)
    }


def _plain(value: object) -> Any:
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
def _names(kind: Any) -> tuple[tuple[str, object, bool], ...]:
    """For each field its name, the value for which its key is left out, and whether it is FLAT."""
    return tuple(
        (field.name, field.default if "omit" in field.metadata else _ALWAYS, "flat" in field.metadata)
        for field in dataclasses.fields(kind)
    )


class _Field(NamedTuple):
    """How a field is read: `keys` lead to its value in the JSON object."""

    name: str
    keys: tuple[str, ...]
    read: _Reader
    has_default: bool
    nullable: bool


@lru_cache(maxsize=None)
def _fields(kind: Any) -> tuple[_Field, ...]:
    hints, missing = get_type_hints(kind), dataclasses.MISSING
    return tuple(
        _Field(
            field.name,
            field.metadata.get("path", (field.name,)),
            _reader(hints[field.name]),
            field.default is not missing or field.default_factory is not missing,
            hints[field.name] is Any or type(None) in get_args(hints[field.name]),
        )
        for field in dataclasses.fields(kind)
        if field.init
    )


def _read_record(kind: Any, value: object) -> Any:
    if not isinstance(value, dict):
        raise RecordError("", "a JSON object", _shown(value))
    _check_format(kind, value.get("format"))
    found = {}
    for name, keys, read, has_default, nullable in _fields(kind):
        inner: Any = value
        for depth, key in enumerate(keys):
            if not isinstance(inner, dict):
                raise RecordError(".".join(keys[:depth]), "a JSON object", _shown(inner))
            inner = inner.get(key)
            if inner is None:
                break
        if inner is not None:
            found[name] = _read_field(keys, read, inner)
        elif nullable and (name in value or not has_default):
            found[name] = None
        elif not has_default:
            raise RecordError(name, "a value", "null" if name in value else "no such key")
    return kind(**found)


def _check_format(kind: Any, found: object) -> None:
    """Before anything else of a record: what a newer version writes may be of other types."""
    field = kind.__dataclass_fields__.get("format")
    known = field.metadata.get("newest") if field is not None else None
    if isinstance(known, int) and isinstance(found, int) and found > known:
        raise NewerFormatError("format", f"{known} at most", f"{found}, written by a newer orch")


def _read_field(keys: tuple[str, ...], read: _Reader, value: object) -> Any:
    try:
        return read(value)
    except RecordError as error:
        raise error.within(".".join(keys)) from None


def _reader(hint: Any) -> _Reader:  # noqa: PLR0911 - one for each kind of type
    """What turns a JSON value into a value of a type."""
    if hint is Any or hint is object:
        return lambda value: value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        inner = _reader(next(one for one in arguments if one is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _tuple(_reader(arguments[0]))
    if origin is not None and issubclass(origin, MappingType):
        return _mapping(arguments[0], _reader(arguments[1]))
    if dataclasses.is_dataclass(hint):
        return lambda value: _read_record(hint, value)
    if hint in _WORDS:
        return _scalar(hint)
    return _bytes if hint is bytes else _made_of(hint)


def _scalar(kind: type) -> _Reader:
    allowed = (int, float) if kind is float else kind

    def read(value: object) -> Any:
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise RecordError("", _WORDS[kind], _shown(value))
        return value

    return read


def _tuple(inner: _Reader) -> _Reader:
    def read(value: object) -> Any:
        if not isinstance(value, (list, tuple)):
            raise RecordError("", "a list", _shown(value))
        return tuple(_read_field((str(index),), inner, item) for index, item in enumerate(value))

    return read


def _mapping(key: type, inner: _Reader) -> _Reader:
    def read(value: object) -> Any:
        if not isinstance(value, MappingType):
            raise RecordError("", "a JSON object", _shown(value))
        return {_key(key, name): _read_field((str(name),), inner, item) for name, item in value.items()}

    return read


def _key(kind: type, name: object) -> Any:
    if kind is int:
        if not str(name).isdigit():
            raise RecordError("", "numbers as keys", _shown(name))
        return int(str(name))
    return name


def _made_of(kind: Any) -> _Reader:
    """Of an enum, or of another class that takes the JSON value."""

    def read(value: object) -> Any:
        try:
            return kind(value)
        except ValueError:
            wanted = f"one of {', '.join(str(one.value) for one in kind)}" if issubclass(kind, Enum) else kind.__name__
            raise RecordError("", wanted, _shown(value)) from None

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
