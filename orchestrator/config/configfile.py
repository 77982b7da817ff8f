"""The configuration file -> Config, as strictly as a job file. Four bare clusters, one a kind, are always there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.config import yamlfile
from orchestrator.config.binding import BAD, Binder, Problems, Rule
from orchestrator.config.messages import alternatives
from orchestrator.config.yamlfile import Node
from orchestrator.errors import JobError
from orchestrator.model.cluster import KINDS, Config, Profile
from orchestrator.model.key import key_of
from orchestrator.model.kubernetes import toleration_problems

BARE: Mapping[str, Profile] = {kind: Profile(kind=kind) for kind in KINDS}


def load(path: str | os.PathLike[str] | None, *, must_exist: bool = False) -> Config:
    """Read the configuration. No path, or no such file unless it `must_exist`: the bare clusters. Raises JobError."""
    if path is None or (not must_exist and not Path(path).exists()):
        return Config(clusters=BARE)
    return parse(yamlfile.read(path), os.fspath(path))


def parse(text: bytes, file: str) -> Config:
    """The Config of a text; `file` names it in errors. An empty text gives the bare clusters. Raises JobError."""
    root = yamlfile.parse(text, file)
    return bind(root) if root.value is not None else Config(clusters=BARE)


def bind(root: Node) -> Config:
    """The Config of a tree. Raises JobError."""
    problems = Problems()
    config = Binder(Config, problems, _RULES).bind(root, Config)
    for name, node in _clusters(root):
        _check_kind(name, node, problems)
    problems.stop_if_any()
    assert config is not BAD
    assert isinstance(config, Config)
    return replace(config, clusters={**BARE, **config.clusters})


def cluster(config: Config, name: str | None = None) -> tuple[str, Profile]:
    """The name and profile of a cluster, the default one unless named. Raises JobError when there is none."""
    chosen = name if name is not None else config.default
    if chosen not in config.clusters:
        raise JobError(f"there is no cluster {chosen}; there are {alternatives(sorted(config.clusters), 'and')}")
    return chosen, config.clusters[chosen]


def place(error: JobError, path: str | os.PathLike[str]) -> JobError:
    """The same error with the line of its field in the configuration, where a later stage knew only the field."""
    return yamlfile.placed(error, yamlfile.parse(yamlfile.read(path), os.fspath(path)))


def _rules(config: Config) -> Iterator[tuple[str, str]]:
    known = {**BARE, **config.clusters}
    if config.default not in known:
        yield "default", f"there is no cluster {config.default}; there are {alternatives(known, 'and')}"


def _profile_rules(profile: Profile) -> Iterator[tuple[str, str]]:
    for place, problem in toleration_problems(profile.tolerations):
        yield "tolerations", f"the toleration {place + 1} is none: {problem}"
    if profile.gang_queue is not None and profile.gang != "volcano":
        yield "gang_queue", "only Volcano has queues for gangs; set gang: volcano too, or take queue for one of Kueue's"


_RULES: Mapping[type, Rule] = {Config: _rules, Profile: _profile_rules}


def _clusters(root: Node) -> Iterator[tuple[str, Node]]:
    clusters = root.child("clusters")
    if clusters is not None and isinstance(clusters.value, dict):
        yield from clusters.value.items()


def _check_kind(name: str, node: Node, problems: Problems) -> None:
    kind = node.child("kind")
    if kind is None or kind.value not in KINDS:
        return
    if name in BARE and kind.value != name:
        problems.add(f"the name {name} stands for clusters of that kind; use another", kind, f"clusters.{name}.kind")
    for of in fields(Profile):
        kinds = key_of(of).kinds
        if node.child(of.name) is not None and kinds and kind.value not in kinds:
            message = f"is read on {alternatives(kinds, 'and')} clusters only; this one is of kind {kind.value}"
            problems.add(message, node, f"clusters.{name}.{of.name}", key=of.name)
