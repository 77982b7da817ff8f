"""Numbers for people. Inside orch all values are bytes, seconds and counts; units appear only here."""

from __future__ import annotations

import math
from collections.abc import Callable

NOTHING = "-"

Clock = Callable[[float], str]  # seconds since the epoch -> local date and time


def size(count: float | None) -> str:
    """Bytes in binary units with three or four digits: 1.50 GiB."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1023.5 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} B" if unit == "B" else f"{_three(value)} {unit}"


def count(number: float | None) -> str:
    """A count with thousands apart up to a million, then in millions and billions: 6.74 billion."""
    if number is None:
        return NOTHING
    for limit, unit in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(number) >= limit:
            return f"{_three(number / limit)} {unit}"
    return f"{number:,.0f}"


def rate(per_second: float | None) -> str:
    """Tokens per second: 812, 12.3k, 1.40M."""
    if per_second is None or not math.isfinite(per_second):
        return NOTHING
    if per_second < 999.5:
        return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if per_second >= limit * 0.9995:
            return f"{_three(per_second / limit)}{letter}"
    return f"{per_second:.0f}"


def loss(value: float | None) -> str:
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3g}"


def short_duration(seconds: float | None) -> str:
    """For a cell: 42s, 4m12s, 2h05m, 3d04h."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def duration(seconds: float | None) -> str:
    """For a sentence: 42 s, 4 min 12 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    for big, small, big_unit, small_unit in ((60, 1, "min", "s"), (3600, 60, "h", "min"), (86400, 3600, "d", "h")):
        if whole < big * (24 if big == 3600 else 60) or big == 86400:
            rest = whole % big // small
            return f"{whole // big} {big_unit}" + (f" {rest} {small_unit}" if rest else "")
    return NOTHING


def percent(part: float, whole: float) -> str:
    """Rounded down, so that 100 % means all of it."""
    return f"{math.floor(100 * part / whole) if whole else 0} %"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _three(value: float) -> str:
    """Three digits, four where the whole part has them."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}"
