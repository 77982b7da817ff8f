"""Tables whose columns are defined once: title and cell for people, key and value for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.views.text import Paint, clean, plain, shorten

Row = Mapping[str, Any]  # what is shown, by key: as stored, or as a view made it


def _none(_: Any) -> str:
    return ""


class Column(NamedTuple):  # no dataclass: those take `orch status` as long to import as all the rest
    """One column. `cell` and `title` None: only in JSON; `key` None: only in the table.

    On a narrow terminal columns with the highest `need` are dropped first (0: never); a `shrink` cell may be shortened.
    """

    key: str | None = None
    value: Callable[[Row], Any] | None = None  # default: row[key]
    title: str | None = None
    cell: Callable[[Row], str] | None = None
    role: Callable[[Row], str] = _none
    right: bool = False
    need: int = 0
    shrink: bool = False

    def json_value(self, row: Row) -> Any:
        return self.value(row) if self.value else row.get(self.key or "")


def to_json(columns: Iterable[Column], row: Row) -> dict[str, object]:
    """One row for scripts: every key is always there."""
    return {column.key: column.json_value(row) for column in columns if column.key is not None}


def render(columns: Sequence[Column], rows: Sequence[Row], *, width: int | None, paint: Paint = plain) -> list[str]:
    """Lines of a table with its head, at most `width` wide; None: as wide as it is."""
    shown = [column for column in columns if column.title is not None]
    cells = [[column.title or "", *_cells(column, rows)] for column in shown]
    widths = [max(map(len, texts)) for texts in cells]
    keep = _fitting(shown, widths, width)
    padded = [_painted(shown[i], _padded(shown[i], cells[i], widths[i]), rows, paint) for i in keep]
    return ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]


def _cells(column: Column, rows: Sequence[Row]) -> list[str]:
    return [clean(column.cell(row)) for row in rows] if column.cell else [""] * len(rows)


def _padded(column: Column, texts: Sequence[str], width: int) -> list[str]:
    texts = [text if len(text) <= width else shorten(text, width) for text in texts]
    return [text.rjust(width) for text in texts] if column.right else [text.ljust(width) for text in texts]


def _painted(column: Column, texts: list[str], rows: Sequence[Row], paint: Paint) -> list[str]:
    if paint is plain:  # roles would not be visible, and computing them for a thousand rows is slow
        return texts
    roles = [column.role(row) for row in rows]
    head, *below = texts
    return [paint(head, "dim"), *(paint(text, role) if role else text for text, role in zip(below, roles, strict=True))]


def _fitting(columns: Sequence[Column], widths: list[int], width: int | None) -> list[int]:
    """The columns that stay, least needed dropped first; then the ones that may shrink do, in `widths`."""
    keep = list(range(len(columns)))
    if width is None:
        return keep
    while _total(widths, keep) > width and any(columns[i].need for i in keep):
        slack = sum(max(0, widths[i] - 16) for i in keep if columns[i].shrink)
        if _total(widths, keep) - slack <= width:
            break
        keep.remove(max(keep, key=lambda i: columns[i].need))
    for i in keep:
        excess = _total(widths, keep) - width
        if columns[i].shrink and excess > 0:
            widths[i] = max(8, widths[i] - excess)
    return keep


def _total(widths: Sequence[int], keep: Sequence[int]) -> int:
    return sum(widths[i] for i in keep) + 2 * (len(keep) - 1)
