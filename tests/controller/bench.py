"""A workbench: a real store, the real local backend and real processes, with a stand-in for the agent."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.bundle import assets
from orchestrator.clusters import Backend, open_backend
from orchestrator.controller import process, tick
from orchestrator.job.system import proc
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.plan import Plan, Topology
from orchestrator.model.run import Run
from orchestrator.model.spec import Checkpoint, Resources, Spec
from orchestrator.policy.rules import Limits
from orchestrator.runs import submit
from orchestrator.runs.dispatch import job_of
from orchestrator.runs.prepare import Prepared
from orchestrator.store import Lease, Store, open_store

PROFILE = Profile(kind="local", device="cpu")
STANDIN = Path(__file__).with_name("standin.py")
# Nothing here stands still but where a test wants it to; whatever a busy machine holds up goes on.
QUICK = Limits(handover=0.0, hung=60.0, partial=60.0, force=1.0)


def bundle_of(job: dict[str, Any]) -> Bundle:
    """The real library with the stand-in agent, and a job.json."""
    library = [
        *(file for file in assets.library_files() if "/agent/" not in file.path),
        File(path="orchestrator/job/agent/__init__.py", content=b""),
        File(path="orchestrator/job/agent/__main__.py", content=STANDIN.read_bytes()),
    ]
    return Bundle(files=(File(path="job.json", content=json.dumps(job).encode()), assets.as_library(library)))


def prepared(
    command: str = "train",
    *,
    name: str = "tiny",
    nodes: int = 2,
    steps: int = 6,
    checkpoint_dir: str = "ckpt",
    max_failures: int = 2,
    secrets: dict[str, Any] | None = None,
    run_id: str | None = None,
) -> Prepared:
    """What `prepare` gives, for a job that the stand-in agent plays."""
    identity = run_id or f"{abs(hash((name, command, nodes, steps))):012x}"[:12]
    job = {
        "format": 1,
        "name": name,
        "run_id": identity,
        "nodes": nodes,
        "ranks_per_node": 1,
        "python": None,
        "device": "cpu",
        "command": command.split(),
        "checkpoint_dir": checkpoint_dir,
        "steps": steps,
        "max_failures": max_failures,
        "secrets": secrets or {},
        "timeouts": {"join": 60, "heartbeat": 5, "grace": 2, "hang": None},
    }
    topology = Topology(nodes=nodes, ranks_per_node=1, device="cpu")
    return Prepared(
        spec=Spec(
            name=name,
            run=command,
            resources=Resources(nodes=nodes),
            checkpoint=Checkpoint(dir=checkpoint_dir),
        ),
        cluster=Cluster(name="local", profile=PROFILE),
        plan=Plan(
            topology=topology,
            batch=None,
            zero_stage=0,
            offload="none",
            memory=None,
            model=None,
            fits=None,
            ds_config={},
            steps=steps,
            epochs=None,
            checkpoint_steps=None,
            checkpoint_seconds=None,
            checkpoint_bytes=None,
        ),
        bundle=bundle_of(job),
        run_id=identity,
        spec_digest=identity,
    )


def with_code(job: Prepared, content: bytes) -> Prepared:
    """The job with a script in its code snapshot."""
    files = (*job.bundle.files, File(path="code/train.py", content=content))
    return replace(job, bundle=Bundle(files=tuple(sorted(files, key=lambda file: file.path))))


class Bench:
    """One ORCH_HOME with a controller that ticks when it is told to."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store: Store = open_store(home)
        self.backend: Backend = open_backend("local", PROFILE, home)
        self.environment = dict(os.environ)
        self.cache = tick.TickCache()
        self.limits = QUICK
        self._lease: Lease | None = None

    def close(self) -> None:
        for start in {self.start_of(run) for run in self.store.snapshots()}:
            for pid in proc.carriers(f"ORCH_START={start}"):
                proc.send(pid, signal.SIGKILL)
        self.store.close()

    def start_of(self, snapshot: dict[str, Any]) -> str:
        from orchestrator.clusters.attempts import start_id
        from orchestrator.job.protocol.encoding import from_json
        from orchestrator.model.run import Submission

        return start_id(from_json(Submission, snapshot["submission"]))

    def submit(self, job: Prepared) -> Run:
        return submit.submit_run(self.store, self.backend, job, self.environment)

    def desk(self) -> tick.TickContext:
        if self._lease is None:
            self._lease = self.store.take_lease(process.holder(), self.store.lease())
        assert self._lease is not None
        return tick.TickContext(
            store=self.store,
            backend=lambda _: self.backend,
            environment=self.environment,
            lease=self._lease,
            cache=self.cache,
            limits=self.limits,
        )

    def run(self, name: str = "tiny") -> Run:
        return self.store.get(name)

    def kinds(self, name: str = "tiny") -> list[str]:
        return [event.kind for event in self.store.events(name)]

    def until(self, what: Callable[[Run], bool], *, name: str = "tiny", seconds: float = 60) -> Run:
        """Tick until a run is as wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            tick.tick(self.desk())
            if what(run := self.run(name)):
                return run
            time.sleep(0.05)
        logs = "".join(path.read_text() for path in self.home.glob("runs/*/attempts/*/agent-*.log"))
        raise AssertionError(f"not within {seconds} s: {self.run(name)}\n{self.store.events(name)}\n{logs}")

    def until_end(self, name: str = "tiny") -> Run:
        return self.until(lambda run: run.phase.ended, name=name)

    def agents(self, name: str = "tiny") -> list[int]:
        return list(proc.carriers(f"ORCH_START={self.start_of(self.store.snapshot(name) or {})}"))

    def starts(self, name: str = "tiny") -> int:
        """How many agents of a run ever got past their slot lock."""
        logs = (self.home / "runs" / name / "attempts").glob("*/agent-*.log")
        return sum(log.read_text().count("of attempt") for log in logs)

    def job(self, job: Prepared) -> dict[str, Any]:
        return job_of(job.bundle)
