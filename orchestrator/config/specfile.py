"""job.yaml -> Spec, strictly: every error says file, line and field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.config import scriptfiles, yamlfile
from orchestrator.config.binding import BAD, Binder, Problems, Rule
from orchestrator.config.jsonfile import read_mapping
from orchestrator.config.messages import hints_of, members
from orchestrator.config.overrides import apply
from orchestrator.config.yamlfile import Node
from orchestrator.errors import JobError
from orchestrator.job.protocol.jobfile import VARIABLE
from orchestrator.model.command import CommandError, command_of
from orchestrator.model.credentials import refuse_credential
from orchestrator.model.key import key_of
from orchestrator.model.spec import Model, Spec

BUILT_IN = ("model", "data", "training")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A Spec and where it was read. `path` and `job_dir` (to which relative paths belong) are absolute."""

    spec: Spec
    path: str
    job_dir: str
    root: Node

    def place(self, error: JobError) -> JobError:
        """The same error with the file and line of its field, where a later stage knew only the field."""
        return yamlfile.placed(error, self.root)


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedSpec:
    """Read a job file; overrides are texts like `training.steps=50`. Raises JobError."""
    name = os.fspath(path)
    spec, root = _parse(yamlfile.read(name), name, overrides)
    absolute = Path(name).absolute()
    return LoadedSpec(spec=spec, path=str(absolute), job_dir=str(absolute.parent), root=root)


def parse(text: bytes, file: str, overrides: Sequence[str] = ()) -> Spec:
    """The Spec of a text; `file` names it in errors, and its directory is where a ds_config path starts."""
    return _parse(text, file, overrides)[0]


def canonical(spec: Spec) -> str:
    """JSON, the same for equal specs; without what is None or empty, so that a new optional key changes nothing."""
    return json.dumps(_without_empty(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def restore(text: str, overrides: Sequence[str] = ()) -> Spec:
    """The Spec that `canonical` was given, with overrides.

    Raises JobError when another version wrote what this one does not know, and for an override that is wrong.
    """
    root = yamlfile.located(json.loads(text), "the stored job")
    for override in overrides:
        root = apply(root, override)
    return _bind(root)


def named(spec: Spec, name: str) -> Spec:
    """The same job under another name. Raises JobError if it is not a name."""
    try:
        return restore(canonical(replace(spec, name=name)))
    except JobError as error:
        raise JobError(error.message, file=f"--name {name}", field="name") from None


def check_secrets(spec: Spec, kind: str, *, kubernetes: bool) -> None:
    """Check the secrets of a job for a kind of cluster, and that `env` holds none. Raises JobError.

    `kubernetes`: that has Kubernetes Secrets.
    """
    for name, secret in spec.secrets.items():
        if secret.kubernetes is not None and not kubernetes:
            message = f"a Kubernetes Secret cannot be read on a cluster of kind {kind}; use env or file there"
            raise JobError(message, field=f"secrets.{name}.kubernetes")
    for name, value in spec.env.items():
        refuse_credential(f"env.{name}", name, value, kubernetes=kubernetes)


def _parse(text: bytes, file: str, overrides: Sequence[str]) -> tuple[Spec, Node]:
    directory = Path(file).parent
    root = _expand(yamlfile.parse(text, file), Spec, directory)
    for override in overrides:
        root = _expand(apply(root, override), Spec, directory)
    root = scriptfiles.expand(root, directory)
    return _bind(root), root


def _bind(root: Node) -> Spec:
    problems = Problems()
    spec = Binder(lambda: Spec, problems, _RULES).bind(root, Spec)
    _check_way(root, problems)
    problems.stop_if_any()
    assert spec is not BAD
    assert isinstance(spec, Spec)
    return spec


def _expand(node: Node, record: Any, directory: Path, field: str = "") -> Node:
    """The tree with every shorthand written out: `model: hub/id`, and the file that `deepspeed.config` names."""
    if not isinstance(node.value, dict):
        return node
    children = dict(node.value)
    for of in fields(record):
        child, key = children.get(of.name), key_of(of)
        if child is None:
            continue
        if key.shorthand and isinstance(child.value, str):
            place = (child.file, child.line)
            children[of.name] = Node({key.shorthand: child}, *place, places={key.shorthand: place})
        elif key.from_file and isinstance(child.value, str):
            children[of.name] = read_mapping(child, directory, field + of.name)
        else:
            for kind in members(hints_of(record)[of.name]):
                if is_dataclass(kind):
                    children[of.name] = _expand(child, kind, directory, f"{field}{of.name}.")
    return replace(node, value=children)


def _check_way(root: Node, problems: Problems) -> None:
    """Either a script of the user's own, or model, data and training."""
    if not isinstance(root.value, dict):
        return
    script = root.child("run")
    if script is None or script.value is None:
        missing = [name for name in BUILT_IN if root.child(name) is None or root.value[name].value is None]
        for name in missing:
            other = "" if len(missing) < len(BUILT_IN) else " (or `run`, for a script of your own)"
            problems.add(f"is missing: a job needs model, data and training{other}", root, name)
        return
    for name in (*BUILT_IN, "tokenizer"):
        child = root.child(name)
        if child is not None and child.value is not None:
            problems.add("stands beside run; a script of your own brings its own", root, name, key=name)


def _model_rules(model: Model) -> Iterator[tuple[str, str]]:
    if model.revision is not None and model.path is None:
        yield "revision", "belongs to a path; an inline config has no revisions"


def _spec_rules(spec: Spec) -> Iterator[tuple[str, str]]:
    for name in sorted(spec.env.keys() & spec.secrets.keys()):
        yield "secrets", f"{name} is in env too; leave one out"
    if spec.run is not None:
        yield from _run_rules(spec)


def _run_rules(spec: Spec) -> Iterator[tuple[str, str]]:
    try:
        command = command_of(spec)
    except CommandError as error:
        yield from (("run", problem) for problem in error.problems)
        return
    name = command.script
    if spec.code is None and name and name.endswith((".py", ".sh")) and not name.startswith(("/", "$")):
        yield "run", f"{name} is a relative path, and no code goes with the job; add `code: .`"
    if command.is_shell:
        used = {match.group(2) or match.group(3) for word in command.words for match in VARIABLE.finditer(word)}
        for secret in sorted(used & spec.secrets.keys()):
            yield "run", f"${secret} is a secret, and a shell's command line can be read by all; use it in the script"


def _without_empty(value: Any) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for of in fields(value):
        child = getattr(value, of.name)
        if is_dataclass(child):
            found[of.name] = _without_empty(child)
        elif child not in (None, (), {}):
            entries = child.items() if isinstance(child, Mapping) else ()
            if any(is_dataclass(entry) for _, entry in entries):
                found[of.name] = {name: _without_empty(entry) for name, entry in entries}
            else:
                found[of.name] = child
    return found


_RULES: Mapping[type, Rule] = {Model: _model_rules, Spec: _spec_rules}
