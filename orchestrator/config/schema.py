"""JSON Schema (draft 2020-12) of job.yaml and of the configuration, derived from the same types as the parser.

It accepts all that the parser accepts. The parser alone refuses what no schema can express: a `run` that is not a
command line, a name both in `env` and in `secrets`, a `default` that names no cluster, a toleration that no API server
takes, 60.0 as an integer, a NUL in a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from orchestrator.config.binding import SIZE
from orchestrator.config.messages import hints_of, members
from orchestrator.config.profiles import ProfileTypes
from orchestrator.config.specfile import BUILT_IN
from orchestrator.model.key import Key, Pattern, key_of
from orchestrator.model.spec import Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema of job.yaml."""
    return {"$schema": DIALECT, "title": "job.yaml of orch", **_record(Spec)}


def config_schema(types: ProfileTypes) -> Schema:
    """The schema of the configuration file."""
    return {"$schema": DIALECT, "title": "configuration of orch", **_record(types.config, null=True)}


def _record(record: Any, *, null: bool = False) -> Schema:
    required = [of.name for of in fields(record) if of.default is MISSING and of.default_factory is MISSING]
    schema: Schema = {
        "type": ["object", "null"] if null else "object",
        "description": record.__doc__,
        "properties": {of.name: _field(of, hints_of(record)[of.name]) for of in fields(record)},
        "additionalProperties": False,
    }
    rules = [*_one_of(record), *_EXTRA.get(record.__name__, _no_rules)(record)]
    return {**schema, **({"required": required} if required else {}), **({"allOf": rules} if rules else {})}


def _field(of: Any, kind: Any) -> Schema:
    key = key_of(of)
    choices = [schema for each in members(kind) for schema in _kind(each, key)]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    schema = {**schema, "description": key.help}
    if of.default is not MISSING and of.default is not None and of.default != ():
        schema["default"] = of.default
    return schema


def _kind(kind: Any, key: Key) -> list[Schema]:
    """The schemas any of which a value of this type may meet."""
    if get_origin(kind) is Literal:
        return [{"enum": list(get_args(kind))}]
    if is_dataclass(kind) or get_origin(kind) in (Mapping, tuple):
        return _collection(kind, key)
    simple: dict[Any, Schema] = {
        NoneType: {"type": "null"},
        Any: {},
        str: _text(key.pattern),
        bool: {"type": "boolean"},
    }
    return [simple[kind]] if kind in simple else _number(kind, key)


def _collection(kind: Any, key: Key) -> list[Schema]:
    if is_dataclass(kind):
        short = [_text(key_of(of).pattern) for of in fields(kind) if of.name == key.shorthand]
        return [*short, _record(kind)]
    if get_origin(kind) is Mapping:
        return [*([_text(None)] if key.from_file else []), _mapping(get_args(kind)[1], key)]
    (item,) = _kind(get_args(kind)[0], key)
    if key.one_or_many:
        return [item, {"type": "array", "items": item, "minItems": 1}]
    return [{"type": "array", "items": item}]


def _number(kind: Any, key: Key) -> list[Schema]:
    number: Schema = {"type": "integer" if kind is int else "number"}
    if key.minimum is not None:
        number["minimum"] = key.minimum
    if key.above is not None:
        number["exclusiveMinimum"] = key.above
    return [number, *([_text(SIZE)] if key.unit == "bytes" else [])]


def _text(pattern: Pattern | None) -> Schema:
    return {"type": "string", "minLength": 1, **({"pattern": _whole(pattern)} if pattern else {})}


def _whole(pattern: Pattern) -> str:
    return f"^(?:{pattern.regex})$(?!\\n)"  # in Python's dialect `$` alone matches before a last line end too


def _mapping(kind: Any, key: Key) -> Schema:
    text = {"type": "string", **({"pattern": _whole(key.values)} if key.values else {})}
    entry = text if kind is str else _kind(kind, Key(help=""))[0]
    names = [*([{"pattern": _whole(key.names)}] if key.names else [])]
    refused = [{"not": {"enum": sorted(key.instead)}}] if key.instead else []
    schema: Schema = {"type": "object", "additionalProperties": entry or True}
    if names or refused:
        schema["propertyNames"] = {"allOf": [*names, *refused]}
    if key.needs:
        schema["required"] = list(key.needs)
        schema["properties"] = {name: _text(None) for name in key.needs}
    return schema


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _one_of(record: Any) -> list[Schema]:
    exactly: tuple[str, ...] = getattr(record, "exactly_one", ())
    groups: tuple[tuple[str, ...], ...] = getattr(record, "at_most_one", ())
    rules: list[Schema] = [{"oneOf": [_given(name) for name in exactly]}] if exactly else []
    for group in groups:
        rules += [{"not": {"allOf": [_given(group[0]), _given(other)]}} for other in group[1:]]
    return rules


def _no_rules(_: Any) -> list[Schema]:
    return []


def _job_rules(_: Any) -> list[Schema]:
    script = {"not": {"anyOf": [_given(name) for name in (*BUILT_IN, "tokenizer")]}}
    built_in = {"allOf": [_given(name) for name in BUILT_IN]}
    return [{"if": _given("run"), "then": script, "else": built_in}]


def _model_rules(_: Any) -> list[Schema]:
    return [{"if": _given("revision"), "then": _given("path")}]


def _profile_rules(profile: Any) -> list[Schema]:
    rules: list[Schema] = []
    for kind in get_args(hints_of(profile)["kind"]):
        refused = [of.name for of in fields(profile) if key_of(of).kinds and kind not in key_of(of).kinds]
        stated = {"required": ["kind"], "properties": {"kind": {"const": kind}}}
        rules.append({"if": stated, "then": {"not": {"anyOf": [{"required": [name]} for name in refused]}}})
    return rules


def _config_rules(config: Any) -> list[Schema]:
    named = {kind: {"properties": {"kind": {"const": kind}}} for kind in config.built_in}
    return [{"properties": {"clusters": {"properties": named}}}]


_EXTRA = {"Spec": _job_rules, "Model": _model_rules, "Profile": _profile_rules, "Config": _config_rules}
