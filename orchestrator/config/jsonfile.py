"""JSON files with // and /* */ comments, as ds_config.json files have them, with the line of every value."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator.config.yamlfile import Node, parse, read
from orchestrator.errors import JobError

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*[\s\S]*?\*/|/\*')


def read_mapping(name: Node, directory: Path, field: str) -> Node:
    """The object in the file that the node of a field names, relative to a directory. Raises JobError."""
    path = str(directory / str(name.value))
    try:
        data = read(path)
    except JobError as error:
        raise JobError(f"{path} {error.message}", file=name.file, line=name.line, field=field) from None
    try:
        return parse_json(data, path)
    except JobError as error:
        inside = f"{field}.{error.field}" if error.field else field
        raise JobError(error.message, file=path, line=error.line, field=inside) from None


def parse_json(data: bytes, file: str) -> Node:
    """The object of a JSON text with comments. Raises JobError with file and line."""
    try:
        text = without_comments(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return parse(data, file)  # says in which line
    _check_syntax(text, file)
    node = parse(text.replace("\t", " ").encode(), file)
    if not isinstance(node.value, dict):
        raise JobError("wanted a JSON object", file=file, line=node.line)
    _check_literals(node)
    return node


def _check_syntax(text: str, file: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise JobError(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}", file=file, line=error.lineno) from None
    except (RecursionError, ValueError):
        return  # too deep, or an integer too long: reading it as YAML says in which line


def _check_literals(node: Node) -> None:
    """Refuse NaN and Infinity, the only words without quotes that Python's JSON takes and YAML reads as text."""
    if isinstance(node.value, dict | tuple):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            _check_literals(child)
    elif isinstance(node.value, str) and node.text:
        raise JobError(f"is not JSON: {node.text}", file=node.file, line=node.line)


def without_comments(text: str) -> str:
    """The text with spaces in place of comments, every line kept. A comment that never ends stays."""
    return _TOKEN.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    token = match.group()
    if token.startswith("//") or token.endswith("*/"):
        return re.sub(r"[^\n]", " ", token)
    return token
