"""Every figure, measured on this machine, as one table.

Usage: python bench/run.py [commands|renders|overhead|instrumented|saves|recovery]...
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping

import commands
import instrumented
import measure
import overhead
import recovery
import renders
import saves

BENCHMARKS: Mapping[str, Callable[[], list[measure.Row]]] = {
    "commands": commands.measure,
    "renders": renders.measure,
    "overhead": overhead.measure,
    "instrumented": instrumented.measure,
    "saves": saves.measure,
    "recovery": recovery.measure,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    rows = []
    for name in names or BENCHMARKS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name]()
    print(f"Medians on {os.cpu_count()} cores, Python {platform.python_version()}; ratios are taken in one run.\n")
    print(measure.table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
