"""The configuration file -> Config, as strictly as a job file. Four bare clusters, one a kind, are always there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.config import yamlfile
from orchestrator.config.binding import BAD, Binder, Problems, Rule
from orchestrator.config.messages import alternatives
from orchestrator.config.profiles import ProfileTypes
from orchestrator.config.yamlfile import Node
from orchestrator.errors import JobError
from orchestrator.model.cluster import Config, Profile
from orchestrator.model.key import key_of


def load(path: str | os.PathLike[str] | None, types: ProfileTypes, *, must_exist: bool = False) -> Config:
    """Read the configuration. No path, or no such file unless it `must_exist`: the bare clusters. Raises JobError."""
    if path is None or (not must_exist and not Path(path).exists()):
        return Config(clusters=types.clusters({}))
    return parse(yamlfile.read(path), os.fspath(path), types)


def parse(text: bytes, file: str, types: ProfileTypes) -> Config:
    """The Config of a text; `file` names it in errors. An empty text gives the bare clusters. Raises JobError."""
    root = yamlfile.parse(text, file)
    return bind(root, types) if root.value is not None else Config(clusters=types.clusters({}))


def bind(root: Node, types: ProfileTypes) -> Config:
    """The Config of a tree. Raises JobError."""
    problems = Problems()
    rules: Mapping[type, Rule] = {
        Config: lambda config: _rules(config, types),
        Profile: lambda profile: profile.problems(),
    }
    config = Binder(lambda: types.config, problems, rules, variants={Profile: types.type_of}).bind(root, Config)
    for name, node in _clusters(root):
        _check_kind(name, node, problems, types)
    problems.stop_if_any()
    assert config is not BAD
    assert isinstance(config, Config)
    return replace(config, clusters=types.clusters(config.clusters))


def cluster(config: Config, name: str | None = None) -> tuple[str, Profile]:
    """The name and profile of a cluster, the default one unless named. Raises JobError when there is none."""
    chosen = name if name is not None else config.default
    if chosen not in config.clusters:
        raise JobError(f"there is no cluster {chosen}; there are {alternatives(sorted(config.clusters), 'and')}")
    return chosen, config.clusters[chosen]


def place(error: JobError, path: str | os.PathLike[str]) -> JobError:
    """The same error with the line of its field in the configuration, where a later stage knew only the field."""
    return yamlfile.placed(error, yamlfile.parse(yamlfile.read(path), os.fspath(path)))


def _rules(config: Config, types: ProfileTypes) -> Iterator[tuple[str, str]]:
    known = types.clusters(config.clusters)
    if config.default not in known:
        yield "default", f"there is no cluster {config.default}; there are {alternatives(known, 'and')}"


def _clusters(root: Node) -> Iterator[tuple[str, Node]]:
    clusters = root.child("clusters")
    if clusters is not None and isinstance(clusters.value, dict):
        yield from clusters.value.items()


def _check_kind(name: str, node: Node, problems: Problems, types: ProfileTypes) -> None:
    kind = node.child("kind")
    if kind is None or not isinstance(kind.value, str) or types.find(kind.value) is None:
        return
    if name in types.built_in and kind.value != name:
        problems.add(f"the name {name} stands for clusters of that kind; use another", kind, f"clusters.{name}.kind")
    for of in fields(types.type_of(node)):
        kinds = key_of(of).kinds
        if node.child(of.name) is not None and kinds and kind.value not in kinds:
            message = f"is read on {alternatives(kinds, 'and')} clusters only; this one is of kind {kind.value}"
            problems.add(message, node, f"clusters.{name}.{of.name}", key=of.name)
