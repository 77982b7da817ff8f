"""orch in one process, as a program of a user's would use it; what it prints are seconds.

python bench/with_orch.py submit JOB FIRST LAST     each run is planned, rendered, recorded and handed over
python bench/with_orch.py observe ROUNDS            all unfinished runs in one call, by a backend that knows nothing yet
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from orchestrator import configfile, launch, rendering, snapshot, specfile
from orchestrator.backends import Backend, open_backend
from orchestrator.backends.slurm import SlurmBackend
from orchestrator.model.run import Phase
from orchestrator.paths import config_path, orch_home
from orchestrator.planner import make_plan
from orchestrator.store import open_store

USED = (rendering, snapshot, make_plan, SlurmBackend)  # their import is part of the command's figures, not of these


def submit(job: str, first: int, last: int) -> float:
    loaded, backend = specfile.load(job, []), hpc()
    started = time.perf_counter()
    with open_store(orch_home(os.environ)) as store:
        names = [f"many-{number}" for number in range(first, last)]
        jobs = (launch.prepare(loaded.spec, backend, job_dir=loaded.job_dir, name=name) for name in names)
        launch.submit_runs(store, backend, jobs, os.environ)
    return time.perf_counter() - started


def observe(rounds: int) -> dict[str, list[float]]:
    with open_store(orch_home(os.environ)) as store:
        submissions = [run.submission for run in store.unfinished() if run.submission is not None]
    first: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        backend = hpc()
        for times in (first, again):
            started = time.perf_counter()
            seen = backend.observe(submissions)
            times.append(time.perf_counter() - started)
            waiting = sum(one.phase is Phase.QUEUED for one in seen.values())
            if waiting != len(submissions):
                raise SystemExit(f"{waiting} of {len(submissions)} runs wait")
    return {"first": first, "again": again}


def hpc() -> Backend:
    home = Path(orch_home(os.environ))
    return open_backend(*configfile.cluster(configfile.load(config_path(os.environ)), "hpc"), home)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    result = submit(rest[0], int(rest[1]), int(rest[2])) if what == "submit" else observe(int(rest[0]))
    print(json.dumps(result))
