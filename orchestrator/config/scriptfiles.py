"""Files that the command of `run:` names: the ds_config of the script's own arguments, a launcher's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.config import yamlfile
from orchestrator.config.jsonfile import read_mapping
from orchestrator.config.yamlfile import Node, located, plain
from orchestrator.errors import JobError
from orchestrator.model.command import Command, CommandError, check_counts, parse_command
from orchestrator.model.launchers import ACCELERATE

_CANNOT = {"FSDP", "MEGATRON_LM", "XLA", "TPU"}  # kinds of accelerate that are set up by its launcher alone

_PARTS = ("fp8_config", "megatron_lm_config", "parallelism_config", "mpirun_config")  # of its file, the same


def expand(root: Node, directory: Path) -> Node:
    """The tree with what these files say, where the job itself says nothing: deepspeed.config and env.

    Raises JobError. A command that is wrong is left for the rules to tell.
    """
    run = root.child("run")
    if run is None or not isinstance(run.value, str):
        return root
    nodes, ranks = _size(root, "nodes"), _size(root, "gpus_per_node")
    try:
        command = parse_command(run.value, nodes=nodes, ranks=ranks, names=_names(root))
    except CommandError:
        return root
    code = root.child("code")
    base = directory / (code.value if code is not None and isinstance(code.value, str) else "")
    if command.launcher_config is not None:
        root, more = _with_launcher_config(root, run, command, base, (nodes, ranks))
        command = replace(command, ds_config=command.ds_config or more)
    if command.ds_config is not None:
        root = _with_ds_config(root, run, command.ds_config, base)
    return root


def _with_ds_config(root: Node, run: Node, name: str, base: Path) -> Node:
    section = root.child("deepspeed")
    asked = section.child("config") if section is not None and isinstance(section.value, dict) else None
    config = read_mapping(Node(name, run.file, run.line), base, "deepspeed.config")
    if asked is not None and asked.value is not None:
        _check_same(config, asked, run, name)
        return root
    return _with(root, "deepspeed", {"config": config}, run)


def _check_same(own: Node, asked: Node, run: Node, name: str) -> None:
    """The script's own ds_config and deepspeed.config: the script reads only one. Raises JobError."""
    one, other = plain(own), plain(asked)
    if one == other or not isinstance(one, dict) or not isinstance(other, dict):
        return
    keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    raise JobError(
        f"the script reads {name}, and deepspeed.config is another one ({', '.join(keys)} differ). Leave "
        f"deepspeed.config out, or write $ORCH_DS_CONFIG in place of {name}",
        file=run.file,
        line=run.line,
        field="run",
    )


def _with_launcher_config(
    root: Node, run: Node, command: Command, base: Path, size: tuple[int, int]
) -> tuple[Node, str | None]:
    """With what accelerate's own file hands on to the script; the ds_config that it names."""
    path = str(base / str(command.launcher_config))
    try:
        values = plain(yamlfile.parse(yamlfile.read(path), path))
    except JobError as error:
        message = error.message if error.file else f"{path} {error.message}"
        raise JobError(message, file=error.file or run.file, line=error.line or run.line, field="run") from None
    found: Mapping[str, Any] = values if isinstance(values, dict) else {}
    problems = check_counts(path, found, nodes=size[0], ranks=size[1])
    kind = str(found.get("distributed_type", "NO"))
    if kind in _CANNOT:
        problems.append(f"{path} says distributed_type: {kind}, which cannot be handed on; set it in the script")
    problems += [
        f"{path} has {key}, which cannot be handed on; set it in the script" for key in _PARTS if found.get(key)
    ]
    if problems:
        raise JobError("; ".join(problems), file=run.file, line=run.line, field="run")
    plugin = found.get("deepspeed_config") if kind == "DEEPSPEED" else None
    dynamo = found.get("dynamo_config")
    settings = {
        **found,
        **dict(_items(plugin)),
        **{f"dynamo_{name.removeprefix('dynamo_')}": value for name, value in _items(dynamo)},
        "use_deepspeed": kind == "DEEPSPEED" or None,
        "cpu": found.get("use_cpu") or None,
        "debug": found.get("debug") or None,
    }
    given = {ACCELERATE.variables[key]: value for key, value in settings.items() if key in ACCELERATE.variables}
    texts = {name: _text(value) for name, value in given.items() if value not in (None, "none", "no")}
    own = settings.get("deepspeed_config_file") if kind == "DEEPSPEED" else None
    new = {name: located(text, run.file, run.line) for name, text in texts.items() if name not in command.environment}
    return _with(root, "env", new, run), own if isinstance(own, str) else None


def _with(root: Node, section: str, values: Mapping[str, Node], place: Node) -> Node:
    """The tree with more keys in a section; those that are there stay as they are."""
    assert isinstance(root.value, dict)
    old = root.child(section)
    if old is not None and not isinstance(old.value, dict):
        return root  # the binder tells what is wrong with it
    known = old.value if old is not None and isinstance(old.value, dict) else {}
    places = {**dict.fromkeys(values, (place.file, place.line)), **(old.places if old is not None else {})}
    filled = Node({**values, **known}, place.file, place.line, places=places)
    at = root.places if section in root.places else {**root.places, section: (place.file, place.line)}
    return replace(root, value={**root.value, section: filled}, places=at)


def _size(root: Node, key: str) -> int:
    resources = root.child("resources")
    node = resources.child(key) if resources is not None else None
    return node.value if node is not None and isinstance(node.value, int) else 1


def _names(root: Node) -> list[str]:
    sections = (root.child("env"), root.child("secrets"))
    return [name for node in sections if node is not None and isinstance(node.value, dict) for name in node.value]


def _items(value: object) -> Iterable[tuple[str, object]]:
    return value.items() if isinstance(value, dict) else ()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
