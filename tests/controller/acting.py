"""`python -m tests.controller.acting HOME submit|replace|rm|tick COMMAND`: orch, where a fault can end it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.controller import process, tick
from orchestrator.runs import submit
from orchestrator.runs.remove import remove_run
from tests.controller.bench import QUICK, Bench, prepared, with_code


def main(home: str, verb: str, command: str) -> None:
    bench = Bench(Path(home))
    if verb == "submit":
        print(bench.submit(prepared(command, run_id="0123456789ab")).name)
        return
    if verb == "replace":
        job = with_code(prepared(command, run_id="0123456789ab"), b"second = True\n")

        def ended(name: str) -> bool:
            bench.until_end(name)
            return True

        submit.replace_run(bench.store, bench.backend, job, bench.environment, ended=ended)
        bench.store.close()
        return
    if verb == "rm":
        remove_run(bench.store, "tiny", lambda _: bench.backend, checkpoints=False, keep_files=False)
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
