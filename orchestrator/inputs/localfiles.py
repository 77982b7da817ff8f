"""What a job names that must be on this machine. Relative paths start at the job file's directory."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import JobError
from orchestrator.job.nearest import nearest
from orchestrator.model.command import Command, command_of
from orchestrator.model.spec import STDLIB, Spec

_PROGRAM = re.compile(r"[A-Za-z0-9_][\w.+-]*")  # a console script of an installed package
_OF_FILES = (".py", ".sh", ".yaml", ".yml", ".json", ".toml", ".txt", ".cfg", ".ini", ".ipynb")
Missing = tuple[str, str]  # field, what is wrong


def check_sent(spec: Spec, job_dir: str) -> None:
    """Check what is sent with the job to any cluster: the code directory and the script in it. Raises JobError."""
    _stop_if_any(list(_sent(spec, Path(job_dir))))


def check_local(spec: Spec, job_dir: str) -> None:
    """Check all that a job on this machine reads: code, data, model, tokenizer, secrets. Raises JobError."""
    base = Path(job_dir)
    _stop_if_any([*_sent(spec, base), *_data(spec, base), *_model(spec, base), *_secrets(spec, base)])


def is_directory_path(path: str) -> bool:
    """Whether a model, tokenizer or dataset can only be a directory: a hub id never starts like this."""
    return path.startswith(("/", "./", "../")) or path in (".", "..")


def _stop_if_any(missing: list[Missing]) -> None:
    if missing:
        (field, message), *rest = missing
        raise JobError("\n".join([message, *(f"{other}: {what}" for other, what in rest)]), field=field)


def _sent(spec: Spec, base: Path) -> Iterator[Missing]:
    if spec.code is None:
        return
    code = base / spec.code
    if not code.is_dir():
        yield "code", f"wanted a directory, found {'a file' if code.exists() else 'nothing'} at {code}"
    elif spec.run is not None:
        yield from _started(command_of(spec), code)


def _started(command: Command, code: Path) -> Iterator[Missing]:
    """The script of a command; the name of a program, and a module, may be those of an installed package."""
    name = command.script
    if name is None or "$" in name or (code / name).is_file():
        return
    script = code / name
    if not command.is_shell and _PROGRAM.fullmatch(name) and script.suffix not in _OF_FILES:
        return
    near = nearest(script.name, sorted(path.name for path in script.parent.glob("*.py")))
    hint = f"; did you mean {near}?" if near else ""
    yield "run", f"wanted a script, found {'no file' if script.exists() else 'nothing'} at {script}{hint}"


def _data(spec: Spec, base: Path) -> Iterator[Missing]:
    if spec.data is None:
        return
    for place, pattern in enumerate(spec.data.files):
        if pattern.startswith(STDLIB):
            continue  # under the library of the Python that trains, which may be another one than this
        field = "data.files" if len(spec.data.files) == 1 else f"data.files[{place}]"
        matches = glob.iglob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        first = next((base / match for match in matches if (base / match).is_file()), None)
        if first is None:
            yield field, f"no file matches {pattern} (relative to {base})"
        elif first.suffix == ".jsonl" and (wrong := _wrong_record(first, spec.data.text_field)):
            yield field, wrong
    dataset = spec.data.dataset
    if dataset is not None and is_directory_path(dataset) and not (base / dataset).is_dir():
        yield "data.dataset", f"wanted a directory, found nothing at {base / dataset}"


def _wrong_record(path: Path, text_field: str) -> str | None:
    """What is wrong with the first record of a .jsonl file: the others are read when the job packs them."""
    try:
        with path.open(encoding="utf-8") as file:
            number, line = next(((n, line) for n, line in enumerate(file, 1) if line.strip()), (0, ""))
        if not line:
            return f"{path} is empty"
        record = json.loads(line)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        return f"{path}: its first record is not JSON: {error}"
    if not isinstance(record, dict):
        return f"{path}:{number}: wanted an object, found {type(record).__name__}"
    if isinstance(record.get(text_field), str):
        return None
    found = f"its keys are {', '.join(map(str, record)) or 'none'}"
    return f"{path}:{number}: wanted text under {text_field} (data.text_field), and {found}"


def _model(spec: Spec, base: Path) -> Iterator[Missing]:
    path = spec.model.path if spec.model is not None else None
    if path is not None and is_directory_path(path) and not (base / path / "config.json").is_file():
        yield "model.path", f"wanted a model's directory, found no config.json in {base / path}"
    elif path is not None and is_directory_path(path) and spec.tokenizer is None and not _has_tokenizer(base / path):
        yield "tokenizer", f"{base / path} has no tokenizer: name one, or `bytes`"
    tokenizer = spec.tokenizer
    if tokenizer is not None and is_directory_path(tokenizer) and not (base / tokenizer).is_dir():
        yield "tokenizer", f"wanted a directory, found nothing at {base / tokenizer}"


def _has_tokenizer(directory: Path) -> bool:
    return any(directory.glob("tokenizer*")) or any(directory.glob("*vocab*")) or any(directory.glob("*.tiktoken"))


def _secrets(spec: Spec, base: Path) -> Iterator[Missing]:
    for name, secret in spec.secrets.items():
        if secret.file is not None and not (base / secret.file).is_file():
            yield f"secrets.{name}.file", f"no such file: {base / secret.file}"
