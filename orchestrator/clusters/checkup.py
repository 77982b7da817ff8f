"""Looks at a cluster: its kind asks what it wants to know and judges the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.clusters import kind_of
from orchestrator.clusters.findings import Answer, Checkup
from orchestrator.clusters.kind import Place
from orchestrator.clusters.transport import LocalTransport, SshTransport, Transport
from orchestrator.job.protocol.operations.commands import RunCommand

SECONDS = 300.0  # for all questions to one machine


class Reached(Protocol):
    """What a profile says of the way to its machines."""

    @property
    def python(self) -> str | None: ...
    @property
    def ssh_config(self) -> str | None: ...


def check(place: Place) -> Checkup:
    """Everything that was found at a cluster."""
    kind = place.profile.kind
    findings, can, cannot = kind_of(kind).check(place)
    return Checkup(cluster=place.name, kind=kind, findings=tuple(findings), can=tuple(can), cannot=tuple(cannot))


def answers_of(reach: Transport, asked: Mapping[str, RunCommand]) -> dict[str, Answer]:
    """The answers to questions by name, from one process there. Raises Unreachable and ClusterError."""
    return dict(zip(asked, reach.call_all(list(asked.values()), seconds=SECONDS), strict=True))


def transport_of(host: str | None, profile: Reached, *, interactive: bool) -> Transport:
    """The way to a machine of a cluster, this one when `host` is None; with its shared connection made where asked."""
    if host is None:
        return LocalTransport()
    python = profile.python if profile.python is not None and profile.python.startswith("/") else None
    way = SshTransport(host, config=profile.ssh_config, python=python, interactive=interactive)
    if interactive:
        way.open()
    return way
