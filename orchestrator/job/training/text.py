"""Where the training text comes from: files by glob, the standard library's own sources, or a dataset."""

from __future__ import annotations

import glob
import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.job.protocol.jobfile import TextData
from orchestrator.job.training.environment import DataError

STDLIB = "stdlib:"
PIECE = 1 << 20  # bytes read at once of a plain text file
# Of the standard library's directory: other people's packages, and tests with texts in odd encodings.
_NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests", "__pycache__", "lib-dynload"})


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that the globs name, sorted, each once. `stdlib:**/*.py` is under Python's own library.

    Raises DataError for a pattern that names no file.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = _stdlib_files(pattern[len(STDLIB) :]) if pattern.startswith(STDLIB) else _files(pattern)
        if not matches:
            raise DataError(f"data.files: no file matches {pattern} on this machine.")
        found.update(matches)
    return sorted(found)


def read_documents(data: TextData, files: Sequence[str]) -> Iterator[Iterator[str]]:
    """Each document as an iterator of its pieces, in a fixed order, from `files` or else from the dataset."""
    if not files:
        yield from _dataset_documents(data)
    for path in files:
        ending = os.path.splitext(path)[1]
        if ending == ".jsonl":
            yield from _jsonl_documents(path, data.text_field)
        elif ending == ".parquet":
            yield from _parquet_documents(path, data.text_field)
        else:
            yield _pieces(path)


def _files(pattern: str) -> list[str]:
    return [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]


def _stdlib_files(pattern: str) -> list[str]:
    root = sysconfig.get_paths()["stdlib"]
    return [
        path
        for path in _files(os.path.join(glob.escape(root), pattern))
        if _NOT_LIBRARY.isdisjoint(os.path.relpath(path, root).split(os.sep))
    ]


def _pieces(path: str) -> Iterator[str]:
    """A text file in pieces that end at a line's end. Bytes that are not UTF-8 become U+FFFD."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                return
            yield piece + file.readline()


def _jsonl_documents(path: str, field: str) -> Iterator[Iterator[str]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: this line is not JSON: {error}") from error
            yield iter([_field(row, field, f"{path}:{number}")])


def _parquet_documents(path: str, field: str) -> Iterator[Iterator[str]]:
    from pyarrow import parquet

    table = parquet.ParquetFile(path)
    if field not in table.schema_arrow.names:
        raise DataError(_no_field(field, path, table.schema_arrow.names))
    for batch in table.iter_batches(columns=[field]):
        for text in batch.column(0).to_pylist():
            yield iter([_text(text, field, path)])


def _dataset_documents(data: TextData) -> Iterator[Iterator[str]]:
    import datasets

    name, split = str(data.dataset), data.split
    datasets.disable_progress_bars()
    if os.path.isfile(os.path.join(name, "dataset_info.json")) or os.path.isfile(
        os.path.join(name, "dataset_dict.json")
    ):
        loaded = datasets.load_from_disk(name)
        rows = loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
    else:
        rows = datasets.load_dataset(name, split=split)
    field = data.text_field
    if field not in rows.column_names:
        raise DataError(_no_field(field, f"the dataset {name}", rows.column_names))
    for row in rows.select_columns([field]):
        yield iter([_text(row[field], field, name)])


def _field(row: Any, field: str, place: str) -> str:
    if not isinstance(row, dict) or field not in row:
        raise DataError(_no_field(field, place, list(row) if isinstance(row, dict) else []))
    return _text(row[field], field, place)


def _text(value: Any, field: str, place: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: the field {field!r} holds {type(value).__name__}, but text is needed.")
    return value


def _no_field(field: str, place: str, there: Sequence[str]) -> str:
    return f"{place} has no field {field!r} (it has: {', '.join(map(str, there)) or 'none'}). Set data.text_field."
