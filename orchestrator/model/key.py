"""Key: what a field of the model says of itself. Parser, JSON Schema and reference page are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A regular expression for the whole of a text, and the same in words ("a path that starts with /")."""

    regex: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Help and limits of one field. `minimum` and `above` hold for numbers, `pattern` for text and a list's items."""

    help: str
    minimum: float | None = None
    above: float | None = None
    pattern: Pattern | None = None
    names: Pattern | None = None  # of the keys of a free mapping
    values: Pattern | None = None  # of the values of a mapping to text
    needs: tuple[str, ...] = ()  # keys that a free mapping must have, each with text
    instead: Mapping[str, str] = field(default_factory=dict)  # refused keys of a free mapping -> what to use
    one_or_many: bool = False  # a list that may be written as its only item
    shorthand: str | None = None  # a text stands for a mapping with this one key
    from_file: bool = False  # a text is the path of a JSON file that has the mapping
    unit: Literal["bytes"] | None = None  # an integer that may be written as 80GiB
    kinds: tuple[str, ...] = ()  # kinds of cluster that read this; empty: all


def key(help: str, **limits: Any) -> dict[str, Key]:  # noqa: A002 - the word of the reference page
    """Metadata of a dataclass field."""
    return {"key": Key(help=help, **limits)}


def option(default: Any, help: str, **limits: Any) -> Any:  # noqa: A002 - the word of the reference page
    """A dataclass field with its Key and a default; a type stands for its empty value, as in `dict`."""
    metadata = key(help, **limits)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def key_of(of: Field[Any]) -> Key:
    """The Key of a dataclass field that was declared with `option` or `metadata=key(...)`."""
    found = of.metadata["key"]
    assert isinstance(found, Key)
    return found


NAME = Pattern(
    regex="[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?",
    words="1 to 40 lower-case letters, digits and dashes, with no dash at either end",
)
PATH = Pattern(regex=r"(?!~/)[\s\S]+", words="a path without ~/ (write the directory out)")
ABSOLUTE = Pattern(regex=r"/[\s\S]*", words="a path that starts with /")
WORD = Pattern(regex=r"[^\s\x00-\x20\x7f-]\S*", words="one word, with no dash in front")
VARIABLE = Pattern(
    regex="(?!ORCH_)[A-Za-z_][A-Za-z0-9_]*", words="letters, digits and _, not starting with a digit or with ORCH_"
)
SET_BY_LAUNCHER: Mapping[str, str] = dict.fromkeys(
    ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "nothing; the launcher sets it",
)
