"""JSON files with // and /* */ comments, as ds_config.json files have them, with the line of every value."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.yamlfile import Node, parse, read

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*[\s\S]*?\*/|/\*')


def read_mapping(name: Node, directory: Path) -> Node:
    """The object in the file that a node names, relative to a directory. Raises JobError with that file's line."""
    path = str(directory / str(name.value))
    try:
        data = read(path)
    except JobError as error:
        raise JobError(
            f"{error.file} {error.message}", file=name.file, line=name.line, field="deepspeed.config"
        ) from None
    return parse_json(data, path)


def parse_json(data: bytes, file: str) -> Node:
    """The object of a JSON text with comments. Raises JobError with file and line."""
    try:
        text = without_comments(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return parse(data, file)  # says in which line
    node = parse(text.replace("\t", " ").encode(), file)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise JobError(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}", file=file, line=error.lineno) from None
    if not isinstance(node.value, dict):
        raise JobError("wanted a JSON object", file=file, line=node.line)
    return node


def without_comments(text: str) -> str:
    """The text with spaces in place of comments, every line kept. A comment that never ends stays."""
    return _TOKEN.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    token = match.group()
    if token.startswith("//") or token.endswith("*/"):
        return re.sub(r"[^\n]", " ", token)
    return token
