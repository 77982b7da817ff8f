"""Kind: all that differs from one kind of cluster to another, as one value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.model.cluster import Profile

if TYPE_CHECKING:  # a command that only lists clusters needs none of them
    from orchestrator.clusters import Backend
    from orchestrator.clusters.findings import Findings
    from orchestrator.model.bundle import Bundle
    from orchestrator.rendering import KindRendering


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cluster to check. `home` is $ORCH_HOME; `interactive`: ssh may ask at the terminal."""

    name: str
    profile: Any
    home: Path
    interactive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """A job that is objects of an API server: `orch render` with -o -, --kind and --diff."""

    stream: Callable[[Bundle], str]
    job_object: Callable[[Bundle], str]
    made_as: Callable[[Any, Any], Profile]  # the profile whose jobs are objects of one kind
    without_overlay: Callable[[Any], Profile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of cluster. Its module is imported by commands that only read profiles, so its functions come `later`.

    A profile that a function takes is of the type `profile`. `templates` is the directory of its templates, by default
    templates/NAME of orch. `here`: its jobs run on this machine and read their files and secrets on it.
    `kubernetes_secrets`: its jobs can read Secrets that Kubernetes keeps.
    """

    name: str
    profile: type[Profile]
    open: Callable[[str, Any, Path], Backend]  # name, profile, $ORCH_HOME
    rendering: Callable[[], KindRendering]
    check: Callable[[Place], Findings]
    templates: Path | None = None
    here: bool = False
    kubernetes_secrets: bool = False
    excludes: bool = False  # a node can be left out
    lists_hosts: bool = False  # `hosts` of its backend is the configuration's list, which asks nobody
    # `clusters add`: keys that the cluster can supply, except those given on the command line; and what it cannot.
    look_up: Callable[[Place, Collection[str]], Mapping[str, object]] | None = None
    missing: Callable[[Any], Sequence[str]] = lambda _: ()
    time_limit: Callable[[Any], int | None] | None = None  # its scheduler's own, in seconds; None: it keeps none
    manifests: Manifests | None = None


def load(reference: str) -> Any:
    """The object that `module:name` stands for."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def later(reference: str) -> Callable[..., Any]:
    """The function that `module:name` stands for, imported when it is called."""

    def call(*arguments: Any) -> Any:
        return load(reference)(*arguments)

    return call
