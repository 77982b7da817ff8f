"""How long to wait before another attempt. Seconds."""

from __future__ import annotations

import zlib

FIRST = 2.0
LONGEST = 300.0


def delay(failures: int, seed: str = "") -> float:
    """Seconds before the attempt that follows `failures` bad ends in a row: none after the first, then doubling.

    `seed` (the run's name) spreads runs that failed together by up to a quarter, always the same way.
    """
    if failures <= 1:
        return 0.0
    wait = min(LONGEST, FIRST * 2.0 ** min(failures - 2, 16))
    spread = (zlib.crc32(f"{seed}/{failures}".encode()) % 1000) / 1000
    return wait * (1 - spread / 4)
