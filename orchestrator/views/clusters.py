"""`orch clusters`: the table of clusters, what was found at one, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from orchestrator.clusters.findings import Checkup, Finding
from orchestrator.model.cluster import Config, Interface, Profile
from orchestrator.views import table, units
from orchestrator.views.table import Column, Row
from orchestrator.views.text import LABEL, Paint, clean, plain, wrapped

_BYTES = frozenset({"gpu_memory", "host_memory"})

COLUMNS: tuple[Column, ...] = (
    Column(key="name", title="NAME", cell=lambda row: row["name"]),
    Column(key="kind", title="KIND", cell=lambda row: row["kind"]),
    Column(key="default", title="DEFAULT", cell=lambda row: "*" if row["default"] else ""),
    Column(key="known", title="KNOWN", cell=lambda row: _known(row["known"]), shrink=True),
)


def rows(config: Config) -> list[dict[str, object]]:
    """The clusters in the order of the configuration, the default one marked."""
    return [
        {"name": name, "kind": profile.kind, "default": name == config.default, "known": _facts(profile)}
        for name, profile in config.clusters.items()
    ]


def to_json(row: Row) -> dict[str, object]:
    return table.to_json(COLUMNS, row)


def listing(found: Sequence[Row], *, width: int | None, paint: Paint = plain) -> list[str]:
    return table.render(COLUMNS, found, width=width, paint=paint)


def _facts(profile: Profile) -> dict[str, object]:
    """What the configuration says beyond the defaults."""
    bare = type(profile)(kind=profile.kind)
    found: dict[str, object] = {}
    for of in fields(profile):
        value = getattr(profile, of.name)
        if of.name == "kind" or value == getattr(bare, of.name):
            continue
        if isinstance(value, Interface):
            value = {"socket": value.socket, "hcas": list(value.hcas)}
        found[of.name] = dict(value) if isinstance(value, Mapping) else value
    return found


def _known(facts: Row) -> str:
    shown = []
    for key, value in facts.items():
        if key in _BYTES:
            shown.append(f"{key} {units.size(value)}")
        elif isinstance(value, Mapping | tuple):
            shown.append(f"{key} {', '.join(map(str, value))}")
        else:
            shown.append(f"{key} {value}")
    return "; ".join(shown) or "its kind's defaults"


_ROLES = {"ok": "good", "warning": "warn", "problem": "bad"}


def checkup_to_json(found: Checkup) -> dict[str, object]:
    return {
        "cluster": found.cluster,
        "kind": found.kind,
        "findings": [
            {"what": one.what, "level": one.level, "found": one.found, "todo": one.todo} for one in found.findings
        ],
        "can": list(found.can),
        "cannot": list(found.cannot),
    }


def checkup_listing(found: Checkup, *, width: int | None, paint: Paint = plain) -> list[str]:
    """A line a finding, below it what to do; then what orch can and cannot promise."""
    room = max(LABEL, *(len(clean(one.what)) + 2 for one in found.findings)) if found.findings else LABEL
    lines = [line for one in found.findings for line in _finding(one, room, width, paint)]
    for title, sentences in (("orch can promise here", found.can), ("orch can't promise here", found.cannot)):
        if sentences:
            lines += ["", paint(f"{title}:", "strong")]
            lines += [line for sentence in sentences for line in _item(sentence, width)]
    return lines


def _finding(one: Finding, room: int, width: int | None, paint: Paint) -> list[str]:
    lead = room + 9
    left = None if width is None else width - lead
    below = [*wrapped(one.found, left), *(wrapped(f"-> {one.todo}", left) if one.todo else ())]
    head = f"{clean(one.what):<{room}}{paint(f'{one.level:<9}', _ROLES[one.level])}{below[0]}"
    return [head, *(f"{' ' * lead}{line}" for line in below[1:])]


def _item(sentence: str, width: int | None) -> list[str]:
    first, *more = wrapped(sentence, None if width is None else width - 4)
    return [f"  - {first}", *(f"    {line}" for line in more)]
