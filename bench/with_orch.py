"""orch in one process, as a program of a user's would use it, on the configuration's default cluster; prints JSON.

python bench/with_orch.py submit JOB FIRST LAST     seconds; each run is planned, rendered, recorded and handed over
python bench/with_orch.py render JOB FOLDER NAME... one file for kubectl of each run: its Kubernetes objects
python bench/with_orch.py observe ROUNDS            seconds; all unfinished runs in one call, first by a backend that
                                                    knows nothing yet
python bench/with_orch.py tick ROUNDS               seconds of each tick of a controller; objects that one lists, and
                                                    their bytes as JSON
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import config as client_config
from kubernetes.client import api_client

from orchestrator import rendering
from orchestrator.clusters import PROFILES, Backend, open_backend
from orchestrator.clusters.kubernetes import render as kubernetes
from orchestrator.clusters.kubernetes.answers import Json, Listed
from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.backend import KubernetesBackend
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.clusters.slurm.backend import SlurmBackend
from orchestrator.config import configfile, specfile
from orchestrator.controller import process as daemon
from orchestrator.controller import tick as controller
from orchestrator.inputs import snapshot
from orchestrator.model.run import Phase, Question
from orchestrator.planner import make_plan
from orchestrator.runs import submit as launch
from orchestrator.runs.prepare import prepare
from orchestrator.store import open_store
from orchestrator.system.paths import config_path, orch_home

T = TypeVar("T")

# Their import is part of the command's figures, not of these.
USED = (rendering, snapshot, make_plan, SlurmBackend, client_config, api_client)


def submit(job: str, first: int, last: int) -> float:
    loaded, backend = specfile.load(job, []), opened()
    started = time.perf_counter()
    with open_store(orch_home(os.environ)) as store:
        names = [f"many-{number}" for number in range(first, last)]
        jobs = (prepare(loaded.spec, backend, job_dir=loaded.job_dir, name=name) for name in names)
        launch.submit_runs(store, backend, jobs, os.environ)
    return time.perf_counter() - started


def render(job: str, folder: Path, names: Sequence[str]) -> int:
    """Bytes of the last one."""
    loaded, backend = specfile.load(job, []), opened()
    folder.mkdir()
    text = ""
    for name in names:
        bundle = prepare(loaded.spec, backend, job_dir=loaded.job_dir, name=name).bundle
        text = kubernetes.stream(bundle)
        (folder / f"{name}.yaml").write_text(text)
    return len(text.encode())


def observe(rounds: int) -> dict[str, list[float]]:
    with open_store(orch_home(os.environ)) as store:
        questions = [Question(submission=run.submission) for run in store.unfinished() if run.submission is not None]
    first: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        backend = opened()
        for times in (first, again):
            started = time.perf_counter()
            seen = backend.observe(questions)
            times.append(time.perf_counter() - started)
            waiting = sum(one.phase is Phase.QUEUED for one in seen.values())
            if waiting != len(questions):
                raise SystemExit(f"{waiting} of {len(questions)} runs wait")
    return {"first": first, "again": again}


class Counting(Api):
    """Counts what it lists."""

    objects = 0
    bytes = 0

    def list(
        self, kind: type[T], path: str, query: Sequence[tuple[str, str]] = (), *, metadata_only: bool = False
    ) -> Listed[T]:
        listed = super().list(kind, path, query, metadata_only=metadata_only)
        self.objects += len(listed.items)
        return listed

    def _json(self, response: Any) -> Json:
        self.bytes += len(response.data)
        return super()._json(response)


def tick(rounds: int) -> dict[str, list[float]]:
    """The first tick records what it finds, the others find nothing new."""
    home = Path(orch_home(os.environ))
    name, profile = configfile.cluster(configfile.load(config_path(os.environ), PROFILES))
    with open_store(home) as store:
        lease = daemon.take_lease(store)
        if lease is None:
            raise SystemExit("another controller has the store")

        def ticks(backend: Backend, count: int) -> list[float]:
            memory, taken = controller.TickCache(), []
            desk = controller.TickContext(
                store=store, backend=lambda _: backend, environment=os.environ, lease=lease, cache=memory
            )
            for _ in range(count):
                memory.looks.clear()  # it is its turn, however soon
                started = time.perf_counter()
                controller.tick(desk)
                taken.append(time.perf_counter() - started)
            return taken

        seconds = ticks(opened(), rounds)
        assert isinstance(profile, KubernetesProfile)
        api = Counting(name, profile)
        ticks(KubernetesBackend(name, profile, home, api=api), 1)
        store.release_lease(lease)
    return {"seconds": seconds, "listed": [api.objects, api.bytes]}


def opened() -> Backend:
    home = Path(orch_home(os.environ))
    return open_backend(*configfile.cluster(configfile.load(config_path(os.environ), PROFILES)), home)


def main(what: str, *rest: str) -> object:
    if what == "submit":
        return submit(rest[0], int(rest[1]), int(rest[2]))
    if what == "render":
        return render(rest[0], Path(rest[1]), rest[2:])
    return observe(int(rest[0])) if what == "observe" else tick(int(rest[0]))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
