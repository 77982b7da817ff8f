"""`orch nodes`: one row for each node with failures or an exclusion on record."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.model.cluster import BadNodes
from orchestrator.policy import nodes
from orchestrator.policy.nodes import NodeRecord
from orchestrator.views import table, units
from orchestrator.views.table import Column, Row
from orchestrator.views.text import Paint, plain


def row(record: NodeRecord, limits: BadNodes, now: float, *, can_exclude: bool = True) -> dict[str, object]:
    """Plain values. `until` is None for an exclusion without end and for a node in use; `out` distinguishes them.

    `can_exclude`: whether the node's kind of cluster can exclude nodes.
    """
    until = nodes.until(record, limits)
    out = can_exclude and nodes.is_out(record, limits, now)
    return {
        "cluster": record.cluster,
        "node": record.node,
        "out": out,
        "until": until if out and until is not None and not math.isinf(until) else None,
        "by_hand": record.held,
        "failures": record.failures,
        "cause": record.cause.value,
        "because": record.because,
        "run": record.run,
        "at": record.at,
    }


def _columns(clock: units.Clock) -> tuple[Column, ...]:
    def out(node: Row) -> str:
        if not node["out"]:
            return "no"
        return "until forgiven" if node["until"] is None else f"until {clock(node['until'])}"

    return (
        Column(key="cluster", title="CLUSTER", cell=lambda node: node["cluster"], need=5, shrink=True),
        Column(key="node", title="NODE", cell=lambda node: node["node"], shrink=True),
        Column(key="out", title="EXCLUDED", cell=out, role=lambda node: "warn" if node["out"] else ""),
        Column(key="until"),
        Column(key="by_hand"),
        Column(key="failures", title="FAILURES", cell=lambda node: str(node["failures"]), right=True, need=4),
        Column(key="cause", title="LAST", cell=_last, need=1),
        Column(key="run", title="RUN", cell=lambda node: node["run"], need=3, shrink=True),
        Column(key="at", title="WHEN", cell=lambda node: clock(node["at"]), need=2),
        Column(key="because"),
    )


def _last(node: Row) -> str:
    return str(node["cause"]) if node["failures"] else "by hand"


def to_json(node: Row) -> dict[str, object]:
    return table.to_json(_columns(str), node)


def listing(rows: Sequence[Row], *, clock: units.Clock, width: int | None, paint: Paint = plain) -> list[str]:
    return table.render(_columns(clock), rows, width=width, paint=paint) if rows else []


def excluded(found: Sequence[Row]) -> str:
    """For an event: the nodes excluded from an attempt, and why. "" for none."""
    return "; ".join(f"{one['node']} is excluded ({_why(one)})" for one in found)


def _why(one: Row) -> str:
    if one["held"]:
        return "by hand"
    return f"{units.plural(one['failures'], 'failure')} in a row, the last a {one['cause']} of {one['run']}"
