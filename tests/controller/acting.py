"""`python -m tests.controller.acting HOME submit|tick COMMAND`: what orch does, as a process that a fault can end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.controller import process, tick
from tests.controller.bench import QUICK, Bench, prepared


def main(home: str, verb: str, command: str) -> None:
    bench = Bench(Path(home))
    if verb == "submit":
        print(bench.submit(prepared(command, run_id="0123456789ab")).name)
        return
    lease = process.take_lease(bench.store)
    assert lease is not None
    desk = tick.TickContext(
        store=bench.store,
        backend=lambda _: bench.backend,
        environment=bench.environment,
        lease=lease,
        cache=tick.TickCache(),
        limits=QUICK,
    )
    while tick.tick(desk):
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
