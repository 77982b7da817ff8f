"""`orch clusters add`: a profile written into the configuration file, with the keys that its cluster can supply."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli.terminal import say, warn
from orchestrator.clusters import PROFILES, kind_of
from orchestrator.clusters.kind import Place
from orchestrator.config import configfile, edit, overrides, yamlfile
from orchestrator.config.yamlfile import Node
from orchestrator.errors import OK, JobError, OrchError
from orchestrator.job.system import atomic, lock
from orchestrator.model.cluster import Profile
from orchestrator.system.paths import config_path, orch_home

LOCK = ".{name}.lock"


def add(options: Namespace) -> int:
    path = config_path(os.environ).resolve()  # a link to a file elsewhere stays one
    values, profile = _asked(options)
    _refuse_taken(path, options)
    if not options.offline:
        interactive = sys.stdin.isatty() and sys.stderr.isatty()
        place = Place(name=options.name, profile=profile, home=orch_home(os.environ), interactive=interactive)
        for key, value in _looked_up(place, values).items():
            say(f"found {key}: {value}")
            values[key] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock.holding(path.with_name(LOCK.format(name=path.name))):
            _write(path, _edited(path, options.name, values, replace=options.replace))
    except OSError as error:
        raise JobError(f"cannot write {path}: {error.strerror}", hint="set ORCH_CONFIG to a file of yours") from error
    say(f"{path} has the cluster {options.name}; see what orch can promise there: orch clusters check {options.name}")
    print(options.name, flush=True)
    return OK


def _asked(options: Namespace) -> tuple[dict[str, Any], Profile]:
    """The values of the command line, and the profile that they are. Raises JobError."""
    node = yamlfile.located({"kind": options.kind}, "--kind")
    for override in options.values:
        node = overrides.apply(node, override)
    here = ("NAME", None)
    clusters = Node({options.name: node}, "NAME", places={options.name: here})
    config = configfile.bind(Node({"clusters": clusters}, "NAME", places={"clusters": here}), PROFILES)
    values: dict[str, Any] = yamlfile.plain(node)
    return values, config.clusters[options.name]


def _refuse_taken(path: Path, options: Namespace) -> None:
    """Checked before the cluster is asked, and before questions at the terminal."""
    if not path.exists() or options.replace:
        return
    text = yamlfile.read(path)
    configfile.parse(text, str(path), PROFILES)
    clusters = yamlfile.parse(text, str(path)).child("clusters")
    if clusters is not None and clusters.child(options.name) is not None:
        raise JobError(f"there is a cluster {options.name} in {path}", hint="--replace writes it anew")


def _looked_up(place: Place, given: Collection[str]) -> Mapping[str, object]:
    """The keys that a cluster can supply, except those that were `given`; none if it does not answer."""
    kind = kind_of(place.profile.kind)
    for what in kind.missing(place.profile):
        warn(what)
    try:
        return kind.look_up(place, given) if kind.look_up is not None else {}
    except OrchError as error:
        warn(f"the cluster could not be looked at: {error}")
        return {}


def _edited(path: Path, name: str, values: Mapping[str, object], *, replace: bool) -> bytes:
    """The new content of the file. Raises JobError when it would say anything else than the old one and the cluster."""
    before = yamlfile.read(path) if path.exists() else b""
    old = configfile.parse(before, str(path), PROFILES)
    after = edit.with_cluster(before.decode("utf-8-sig"), name, values, replace=replace).encode()
    by_hand = f"write it there yourself, below clusters: {edit.line(name, values)}"
    try:
        new = configfile.parse(after, str(path), PROFILES)
    except JobError as error:
        raise JobError(f"{path} cannot be edited by orch: {error}", hint=by_hand) from error
    rest = {other: profile for other, profile in old.clusters.items() if other != name}
    others = {other: profile for other, profile in new.clusters.items() if other != name}
    wanted = configfile.parse(edit.with_cluster("", name, values).encode(), "NAME", PROFILES).clusters[name]
    same = (old.default, old.controller, old.nodes, rest) == (new.default, new.controller, new.nodes, others)
    if not same or new.clusters[name] != wanted:
        raise JobError(f"{path} cannot be edited by orch without changing more than {name}", hint=by_hand)
    return after


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, with the rights that the file has. Raises OSError."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    atomic.write(path, content, sync=True, mode=mode)
