"""Whether a file of torch, safetensors or JSON is whole, judged by its frame and without torch."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, Iterable

_LOCAL_HEADER = b"PK\x03\x04"
_LOCAL_HEADER_SIZE = 30  # bytes before the name
_MAX_HEADER = 100_000_000  # bytes; what safetensors itself accepts


def torch_problem(path: Path) -> str | None:
    """What is wrong with the frame of a .pt or .pth file; None when it is whole.

    A torch archive is a zip without compression: its directory at the end must be readable and every entry must lie
    where the directory says. The content is not read. Files of torch before 1.6 (bare pickles) only must not be empty.
    """
    size = path.stat().st_size
    if size == 0:
        return "is empty"
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            return None
        try:
            with zipfile.ZipFile(file) as archive:
                entries, end = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            return f"has no readable directory of its {size} bytes ({error}): truncated, or not finished"
        for entry in entries:
            file.seek(entry.header_offset)
            header = file.read(_LOCAL_HEADER_SIZE)
            if len(header) < _LOCAL_HEADER_SIZE or header[:4] != _LOCAL_HEADER:
                return f"has no entry {entry.filename} at byte {entry.header_offset}, where its directory says"
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            if entry.header_offset + _LOCAL_HEADER_SIZE + name_length + extra_length + entry.compress_size > end:
                return f"ends within its entry {entry.filename}"
    return None


def safetensors_problem(path: Path) -> str | None:
    """What is wrong with the frame of a .safetensors file; None when its header fits its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return f"is {size} bytes long, too short for a header"
        (length,) = struct.unpack("<Q", head)
        if length > min(size - 8, _MAX_HEADER):
            return f"announces a header of {length} bytes and is {size} bytes long"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "has an unreadable header"
    wanted = 8 + length + max(ends, default=0)
    return None if wanted == size else f"is {size} bytes long, its header says {wanted}"


def json_problem(path: Path) -> str | None:
    """What is wrong with a JSON file; None when it can be parsed."""
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        return f"is not JSON: {error}"
    return None


def plain_values(path: Path) -> dict[str, Any]:
    """The numbers, strings, lists and dictionaries at the top of a torch archive; {} when there are none to be read.

    Nothing in the file is executed: every class and function that it names becomes an inert stand-in, and tensors are
    left out.
    """
    try:
        value = _Inert(io.BytesIO(_archived_pickle(path))).load()
    except (OSError, *_UNREADABLE):
        return {}
    return value if isinstance(value, dict) else {}


def zip_problem(path: Path) -> str | None:
    """What is wrong with the frame of any other zip (.npz, .zip); None when it is whole."""
    return torch_problem(path) if path.stat().st_size == 0 or is_archive(path) else "is not a zip"


def is_archive(path: Path) -> bool:
    """Whether the file begins as a zip does."""
    with path.open("rb") as file:
        return file.read(2) == _LOCAL_HEADER[:2]


def world_size(path: Path) -> int | None:
    """How many processes a Trainer ran in, as its training_args.bin says; None when it says nothing."""
    try:
        found = _instances(io.BytesIO(_archived_pickle(path)), "PartialState")
    except (OSError, *_UNREADABLE):
        return None
    sizes = [values.get("num_processes") for values in found]
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def storage_entries(path: Path) -> dict[str, list[tuple[int, int]]] | None:
    """Of the `.metadata` of torch.distributed.checkpoint: where in which file an entry lies, by offset and length.

    None when it is not a whole pickle. Nothing in it is executed.
    """
    try:
        with path.open("rb") as file:
            found = _instances(file, "_StorageInfo")
    except (OSError, *_UNREADABLE):
        return None
    entries: dict[str, list[tuple[int, int]]] = {}
    for values in found:
        name, offset, length = (values.get(key, 0) for key in ("relative_path", "offset", "length"))
        if isinstance(name, str) and isinstance(offset, int) and isinstance(length, int):
            entries.setdefault(name, []).append((offset, length))
    return entries


def hole(path: Path, entries: Iterable[tuple[int, int]]) -> int | None:
    """The first offset of an entry that begins with zeros, as where a machine died before it had written; or None."""
    with path.open("rb") as file:
        for offset, length in sorted(entries):
            file.seek(offset)
            start = file.read(min(length, _LOCAL_HEADER_SIZE))
            if start and not any(start):
                return offset
    return None


def _archived_pickle(path: Path) -> bytes:
    """The pickle of a torch archive, in which tensors are names of other entries."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(
            next(entry for entry in archive.namelist() if entry.endswith("/data.pkl") or entry == "data.pkl")
        )


def _instances(file: IO[bytes], name: str) -> list[dict[str, Any]]:
    """The attributes of each object in a pickle that is of a class called `name`."""
    reader = _Collector(file, name)
    reader.load()
    return [vars(one) for one in reader.found]


# What a pickle that was cut short, or is none, makes of the unpickler, whatever its bytes happen to say.
_UNREADABLE = (
    zipfile.BadZipFile,
    StopIteration,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
)


class _StandIn:
    """Takes the place of any class or function: it can be called, filled and given a state, and does nothing."""

    def __init__(self, *_args: Any, **_named: Any) -> None:
        """Accepts any arguments that a pickle passes."""

    def __setstate__(self, state: Any) -> None:
        """Drops the state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Drops the item."""

    def append(self, value: Any) -> None:
        """Drops the value."""

    def extend(self, values: Any) -> None:
        """Drops the values."""

    def __hash__(self) -> int:
        return id(self)


class _Collector(pickle.Unpickler):
    """Keeps the objects of one class, and makes an inert stand-in of everything else."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(file)
        self.found: list[object] = []
        self._name = name
        found = self.found

        class Collected:  # has the attributes that the pickle gives it
            def __new__(cls) -> Collected:  # noqa: PYI034 - typing.Self is of Python 3.11
                found.append(made := super().__new__(cls))
                return made

        self._collected = Collected

    def find_class(self, module: str, name: str) -> Any:
        return self._collected if name == self._name else _StandIn

    def persistent_load(self, pid: Any) -> None:
        """Tensors' storages are left out."""


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _StandIn

    def persistent_load(self, pid: Any) -> None:
        """Tensors' storages are left out."""
