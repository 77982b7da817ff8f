"""One quoting rule per kind of file. Each takes a value and gives text that the file's reader reads back unchanged."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence

from jinja2 import Undefined

from orchestrator.errors import JobError

# YAML reads none of these raw inside double quotes, or folds them as line breaks; JSON's \uXXXX means the same to it.
UNSAFE_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NOT_A_HOST = re.compile(r"^-|[\s#]|^$")
_PLAIN_TO_SBATCH = re.compile(r"[\w./:=,@%+-]+", re.ASCII)


class Quoted(str):
    """Text that is quoted already; every other value of a `{{ }}` is quoted by its environment."""

    __slots__ = ()


Rule = Callable[[object], object]


def shell(value: object) -> str:
    """One word of a POSIX shell. None is the empty word."""
    if value is None:
        return "''"
    if isinstance(value, str | int) and not isinstance(value, bool):
        return shlex.quote(str(value))
    raise TypeError(f"{value!r} is not one shell word: lists go through the filter `words`")


def shell_words(values: Sequence[object]) -> Quoted:
    """The words of a list, each quoted by itself."""
    return Quoted(" ".join(shell(value) for value in values))


def sbatch(value: object) -> Quoted:
    r"""One value of a `#SBATCH` line, as sbatch itself reads it: not a shell, so shell quoting does not hold.

    Inside double quotes sbatch takes a backslash before any character as "this one as it is", and nothing else is
    special. A line break cannot be written at all: raises JobError.
    """
    text = str(value)
    if "\n" in text or "\r" in text:
        raise JobError(
            f"{text!r} goes into a #SBATCH line, which cannot hold a line break", hint="take the line break out"
        )
    if _PLAIN_TO_SBATCH.fullmatch(text):
        return Quoted(text)
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return Quoted(f'"{escaped}"')


def json_document(value: object) -> str:
    """A JSON value; containers indented, keys in order, so that equal values give equal bytes."""
    indent = 2 if isinstance(value, dict | list | tuple) else None
    return json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False)


def yaml(value: object) -> str:
    """A YAML flow value: JSON, less what YAML reads otherwise. Floats are refused (1e-05 is a string to YAML 1.1)."""
    if isinstance(value, float):
        raise TypeError(f"{value!r}: YAML readers disagree about floats; print an integer or a string")
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return UNSAFE_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def host(value: object) -> str:
    """One word of a DeepSpeed hostfile, which knows no quoting: raises JobError for what would not be one word."""
    text = str(value)
    if _NOT_A_HOST.search(text):
        raise JobError(f"{text!r} cannot be a host name: a hostfile has no quoting", hint="name it without spaces or #")
    return text


def finalizer(rule: Rule) -> Rule:
    """The rule as Jinja's `finalize`: applied once to every `{{ }}`, never to what a filter has quoted."""

    def finalize(value: object) -> object:
        if isinstance(value, Undefined | Quoted):
            return value
        return rule(value)

    return finalize


# By the end of the file's name; the first that fits.
RULES: tuple[tuple[str, Rule], ...] = (
    (".sh", shell),
    (".sbatch", shell),
    (".yaml", yaml),
    (".json", json_document),
    ("hostfile", host),
)


def rule_for(path: str) -> Rule:
    """The rule of a file, by how its path ends; ValueError for a kind of file that has none."""
    for ending, rule in RULES:
        if path.endswith(ending):
            return rule
    endings = ", ".join(ending for ending, _ in RULES)
    raise ValueError(f"{path}: no quoting rule for this kind of file; known: {endings}")
