"""Nodes that are left out: those that were named as the cause of several failures in a row, for a time. Pure.

The evidence against a node is a fold over the events of all runs of a cluster, as a run is one over its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import Cause, Event, EventData, Run

BLAMING = frozenset(cause for cause in Cause if cause.row.blames_node)
_ENDS = frozenset({"lost", "failed", "stopped"})
USUAL = BadNodes()  # where no configuration says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node and the newest evidence against it. `failures` is in a row; `held`: left out by hand until forgiven."""

    cluster: str
    node: str
    failures: int = 0
    cause: Cause = Cause.NONE
    because: str = ""
    run: str = ""
    generation: int = 0
    at: float = 0.0  # seconds since the epoch
    held: bool = False


def blame(run: Run, event: Event) -> NodeRecord | None:
    """What an event of a run says against a node; None when it blames no machine."""
    data = event.data
    node = data.get("host")
    if not node:
        return None
    if event.kind == "generation_ended":
        cause, because, generation = data.get("ended_by"), data.get("ended_because"), data.get("generation")
    elif event.kind in _ENDS:
        cause, because, generation = data.get("cause"), data.get("because"), run.generation
    else:
        return None
    if cause not in BLAMING:
        return None
    return NodeRecord(
        cluster=run.cluster,
        node=str(node),
        failures=1,
        cause=Cause(cause),
        because=str(because or ""),
        run=run.name,
        generation=int(generation or 0),
        at=event.at,
    )


def after(known: NodeRecord | None, new: NodeRecord) -> NodeRecord:
    """The evidence against a node once one failure more is known."""
    if known is None:
        return new
    return replace(new, failures=known.failures + new.failures, held=known.held)


def with_news(node_records: Iterable[NodeRecord], new: NodeRecord | None) -> list[NodeRecord]:
    """All evidence of a cluster once one failure more is known, or None."""
    known = {one.node: one for one in node_records}
    if new is not None:
        known[new.node] = after(known.get(new.node), new)
    return list(known.values())


def good(event: Event) -> tuple[int, tuple[str, ...]]:
    """A generation that went well according to an event, and the machines that took part in it."""
    well = event.data.get("well") or {}
    return int(well.get("generation", 0)), tuple(well.get("hosts", ()))


def cleared(known: NodeRecord, run: str, generation: int) -> NodeRecord | None:
    """What is left of the evidence after a generation with this node went well; None: nothing.

    A generation of the same run says nothing when the node was blamed in it, or in a later one.
    """
    if known.run == run and known.generation >= generation:
        return known
    return NodeRecord(cluster=known.cluster, node=known.node, at=known.at, held=True) if known.held else None


def until(suspect: NodeRecord, limits: BadNodes) -> float | None:
    """When a node may be used again, in seconds since the epoch; None: it never was left out."""
    if suspect.held:
        return math.inf
    return suspect.at + limits.hours * 3600 if suspect.failures >= limits.failures else None


def is_out(suspect: NodeRecord, limits: BadNodes, now: float) -> bool:
    end = until(suspect, limits)
    return end is not None and now < end


def leave_out(
    node_records: Iterable[NodeRecord], limits: BadNodes, now: float, *, hosts: Sequence[str], needed: int
) -> tuple[NodeRecord, ...]:
    """The nodes that a job which needs so many shall not get, named as in `hosts`, all that it could get.

    Never so many that it cannot start: where that would be, those with the newest evidence are left out.
    """
    found: dict[str, NodeRecord] = {}
    ordered = sorted(node_records, key=lambda one: (one.held, one.at, one.node), reverse=True)
    for suspect in ordered:
        name = name_among(suspect.node, hosts) if is_out(suspect, limits, now) else None
        if name is not None:
            found.setdefault(name, replace(suspect, node=name))
    room = max(0, len(set(hosts)) - needed)
    return tuple(found.values())[:room]


def name_among(node: str, hosts: Sequence[str]) -> str | None:
    """The name that a scheduler or a list of hosts has for the machine `node`; None when none or several fit.

    The same name comes before the same name without the users that ssh logs in as, and that before short names.
    """
    if node in hosts:
        return node
    short = _short(node)
    near = {host for host in hosts if _machine(host) == _machine(node)}
    near = near or {host for host in hosts if _short(host) == short and not short.isdigit()}  # no address has a name
    return near.pop() if len(near) == 1 else None


def _machine(name: str) -> str:
    """A host's name without the user that ssh reaches it as."""
    return name.rpartition("@")[2]


def _short(name: str) -> str:
    return _machine(name).partition(".")[0]


def to_json(node_records: Iterable[NodeRecord]) -> list[EventData]:
    """What an event keeps of the nodes that an attempt shall not get."""
    return [
        {"node": one.node, "failures": one.failures, "cause": one.cause.value, "run": one.run, "held": one.held}
        for one in node_records
    ]
