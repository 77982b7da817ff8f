"""Text packed into rows of equal length, in one file that all ranks map into memory.

The file lies beside the generations, under a name made from what it was made of: packing is done once for a run,
however often its processes start, and every process would write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from orchestrator.job.protocol.jobfile import TextData
from orchestrator.job.system.atomic import replacing
from orchestrator.job.training.environment import DataError
from orchestrator.job.training.text import find_files, read_documents
from orchestrator.job.training.tokenizer import is_bytes

BATCH = 256  # pieces of text tokenized at once


@dataclass(frozen=True)
class Packed:
    """`rows` rows of `length` token ids, each `width` bytes wide, in the file at `path`."""

    path: str
    rows: int
    length: int
    width: int


class Rows:
    """The rows as a map-style dataset of a causal language model: labels are the inputs, the model shifts them."""

    def __init__(self, packed: Packed) -> None:
        import numpy as np

        self._rows = packed.rows
        shape = (packed.rows, packed.length)
        self._ids = np.memmap(packed.path, dtype=f"uint{packed.width * 8}", mode="r", shape=shape)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        import torch

        ids = torch.from_numpy(self._ids[index].astype("int64"))
        return {"input_ids": ids, "labels": ids.clone()}


def pack(data: TextData, tokenizer: Any, directory: str) -> Packed:
    """Packs the text of `data` (job.json's `training.data`) unless that is done already.

    Raises DataError when there is no text, or not enough for a single row.
    """
    files = find_files(data.files) if data.files else []
    length = data.sequence_length
    width = 2 if len(tokenizer) <= 1 << 16 else 4
    key = _key(data, files, tokenizer)
    path = os.path.join(directory, f"{key}.bin")
    if not os.path.exists(path):
        os.makedirs(directory, exist_ok=True)
        with replacing(Path(path), sync=True) as temporary, temporary.open("wb") as file:
            file.writelines(ids.astype(f"uint{width * 8}").tobytes() for ids in _tokens(data, files, tokenizer))
    tokens = os.path.getsize(path) // width
    if tokens < length:
        raise DataError(
            f"The data has {tokens:,} tokens, less than one sequence of {length:,} (data.sequence_length). "
            "Give more text or a shorter sequence_length."
        )
    return Packed(path=path, rows=tokens // length, length=length, width=width)


def trim(packed: Packed, global_batch: int) -> Packed:
    """Whole global batches only, so that every epoch has the same steps at every world size.

    Raises DataError when there is less than one.
    """
    rows = packed.rows - packed.rows % global_batch
    if rows == 0:
        raise DataError(
            f"The data fills {packed.rows:,} sequences of {packed.length:,} tokens, but one step takes "
            f"{global_batch:,} (training.global_batch). "
            "Give more text, or make global_batch or data.sequence_length smaller."
        )
    return Packed(path=packed.path, rows=rows, length=packed.length, width=packed.width)


def _key(data: TextData, files: Sequence[str], tokenizer: Any) -> str:
    """Names the packed file by its sources, so that text which has changed is packed again."""
    stats = [(path, os.stat(path)) for path in files]
    source = {
        "files": [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats],
        "dataset": [data.dataset, data.split],
        "field": data.text_field,
        "tokenizer": [tokenizer.name_or_path, len(tokenizer), tokenizer.eos_token_id],
    }
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]


def _tokens(data: TextData, files: Sequence[str], tokenizer: Any) -> Iterator[Any]:
    """Arrays of token ids in order, with an end-of-text token after each document."""
    import numpy as np

    end = tokenizer.eos_token_id
    documents = read_documents(data, files)
    if is_bytes(tokenizer):
        for pieces in documents:
            for piece in pieces:
                yield np.frombuffer(piece.encode("utf-8", "replace"), dtype="uint8")
            yield np.array([end], dtype="int64")
        return
    waiting: list[tuple[str, bool]] = []
    for text, last in _marked(documents):
        waiting.append((text, last))
        if len(waiting) == BATCH:
            yield from _encode(waiting, tokenizer, end)
            waiting = []
    yield from _encode(waiting, tokenizer, end)


def _marked(documents: Iterator[Iterator[str]]) -> Iterator[tuple[str, bool]]:
    """Each piece, and whether its document ends there."""
    for pieces in documents:
        for piece in pieces:
            yield piece, False
        yield "", True


def _encode(waiting: Sequence[tuple[str, bool]], tokenizer: Any, end: Optional[int]) -> Iterator[Any]:
    import numpy as np

    if not waiting:
        return
    # verbose=False: whole documents are longer than the model's window, which packing is there for.
    encoded = tokenizer([text for text, _ in waiting], add_special_tokens=False, verbose=False)["input_ids"]
    for ids, (_, last) in zip(encoded, waiting):  # noqa: B905 - Python 3.9 has no strict
        if ids:
            yield np.asarray(ids, dtype="int64")
        if last and end is not None:
            yield np.array([end], dtype="int64")
