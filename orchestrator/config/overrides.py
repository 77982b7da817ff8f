"""`--set a.b=c`: one value laid over a job file."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.config.messages import describe
from orchestrator.config.yamlfile import Node, located, parse, plain, scalar
from orchestrator.errors import JobError


def apply(root: Node, override: str) -> Node:
    """The tree with one `key.key=value` laid over it.

    The value is what the same text would be in the file when it starts with a bracket or a quote (`[a, b]`, `"5"`);
    otherwise it is a plain scalar taken literally, so `#` and `: ` need no care. Raises JobError naming the override.
    """
    source = f"--set {override}".encode(errors="replace").decode()
    name, equals, text = override.partition("=")
    path = name.split(".")
    if not equals or not all(path):
        raise JobError("wanted KEY=VALUE with a dotted key, as in training.steps=50", file=source)
    return _put(root, path, _value(text, source), name)


def _value(text: str, source: str) -> Node:
    try:
        if text[:1] not in ("[", "{", '"', "'"):
            return replace(located(scalar(text), source), text=text)
        return located(plain(parse(text.encode(), source)), source)
    except UnicodeEncodeError:
        raise JobError("is not UTF-8", file=source) from None
    except ValueError:
        raise JobError("the integer is beyond 64 bits", file=source) from None
    except JobError as error:
        raise JobError(error.message, file=source) from None


def _put(node: Node | None, path: list[str], value: Node, name: str) -> Node:
    if not path:
        return value
    if node is None or node.value is None:
        node = Node({}, value.file)
    if not isinstance(node.value, dict):
        message = f"cannot be set: there is no mapping above {path[0]}, but {describe(node)} ({node.file}:{node.line})"
        raise JobError(message, file=value.file, field=name)
    key, *rest = path
    children = {**node.value, key: _put(node.value.get(key), rest, value, name)}
    here = (value.file, None)
    return replace(node, value=children, places={**node.places, key: node.places.get(key, here) if rest else here})
