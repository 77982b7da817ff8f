"""`orch checkpoints`: one row for each checkpoint, its damaged files below it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.job.protocol.report import Listed
from orchestrator.views import table, units
from orchestrator.views.table import Column, Row
from orchestrator.views.text import Paint, clean, plain


def row(listed: Listed) -> dict[str, object]:
    """Plain values; `proven` is None if the checkpoint was not verified."""
    return {
        "step": listed.step,
        "generation": listed.generation,
        "bytes": listed.bytes,
        "proven": listed.proven,
        "basis": listed.basis,
        "kind": listed.kind,
        "path": listed.path,
        "problems": [{"file": problem.file, "what": problem.what} for problem in listed.problems],
    }


def _state(checkpoint: Row) -> str:
    if checkpoint["proven"] is None:
        return "not verified"
    if not checkpoint["proven"]:
        return "damaged"
    return "proven" if checkpoint["basis"] == "manifest" else "looks whole"


def _role(checkpoint: Row) -> str:
    return {None: "dim", False: "bad", True: "good"}[checkpoint["proven"]]


COLUMNS: tuple[Column, ...] = (
    Column(
        key="step",
        title="STEP",
        cell=lambda one: units.NOTHING if one["step"] is None else str(one["step"]),
        right=True,
    ),
    Column(key="generation", title="GEN", cell=lambda one: str(one["generation"] or units.NOTHING), right=True, need=1),
    Column(key="bytes", title="SIZE", cell=lambda one: units.size(one["bytes"]), right=True, need=2),
    Column(key="proven", title="STATE", cell=_state, role=_role),
    Column(key="basis", title="BY", cell=lambda one: one["basis"], need=3),
    Column(key="kind", title="KIND", cell=lambda one: one["kind"] or units.NOTHING, need=3),
    Column(key="path", title="PATH", cell=lambda one: one["path"], shrink=True),
    Column(key="problems"),
)


def to_json(checkpoint: Row, base: str) -> dict[str, object]:
    """The row for scripts, with an absolute path: below `base`, the directory that is listed."""
    return {**table.to_json(COLUMNS, checkpoint), "path": f"{base}/{checkpoint['path']}"}


def listing(rows: Sequence[Row], *, width: int | None, paint: Paint = plain) -> list[str]:
    """The table; the problems of a checkpoint follow its line, one line for each file."""
    if not rows:
        return []
    head, *lines = table.render(COLUMNS, rows, width=width, paint=paint)
    shown = [head]
    for checkpoint, line in zip(rows, lines, strict=True):
        shown.append(line)
        shown += [paint(f"      {clean(one['file'])} {clean(one['what'])}", "bad") for one in checkpoint["problems"]]
    return shown
