"""Start bench/script.py on two nodes of this machine, under orch or under plain torchrun, and read what it recorded."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).resolve().parent / "script.py"
NODES = 2
LIMIT = 600.0  # seconds that anything here may take


@dataclass(slots=True, kw_only=True)
class Training:
    """One start of the script in `place`, a directory of its own. `options` are the script's own."""

    place: Path
    options: Sequence[str]
    script: Path = SCRIPT
    record: Path = field(init=False)
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.record = self.place / "record.jsonl"
        self.environment = {
            **os.environ,
            "ORCH_HOME": str(self.place / "home"),
            "ORCH_CONFIG": str(self.place / "config.yaml"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def arguments(self) -> list[str]:
        return [*self.options, "--record", str(self.record)]

    def under_orch(self, name: str, *, every: int = 1_000_000, **changes: Any) -> float:
        """Submit, wait for success; wall seconds. `changes` replace whole keys of the job."""
        job = self.write_job(name, every, **changes)
        command = [sys.executable, "-m", "orchestrator", "submit", str(job), "--wait"]
        try:
            return finish(subprocess.Popen(command, env=self.environment, **self.talk("orch")))
        finally:
            self.end(name)

    def under_torchrun(self) -> float:
        """Two torchruns, as a person would type them; wall seconds until both ended well."""
        started = time.perf_counter()
        for process in self.start_torchrun():
            finish(process)
        return time.perf_counter() - started

    def start_torchrun(self) -> list[subprocess.Popen[bytes]]:
        port = free_port()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(NODES), "--nproc-per-node", "1"]
        meeting = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        script = [str(SCRIPT), *self.arguments(), "--checkpoints", str(self.place / "checkpoints")]
        return [
            subprocess.Popen(
                [*launcher, *meeting, "--node-rank", str(node), "--", *script],
                env=self.environment,
                **self.talk(f"torchrun-{node}"),
            )
            for node in range(NODES)
        ]

    def pid_of_rank(self, name: str, rank: int) -> int:
        """The process of a rank in the first generation of a run."""
        ranks = self.place / "home" / "runs" / name / "ckpt" / "generations" / "000001" / "ranks"
        return int(json.loads((ranks / f"rank-{rank}.json").read_text())["pid"])

    def end(self, name: str) -> None:
        """Leave nothing of a run behind, however the benchmark went."""
        for command in (["cancel", name, "--now"], ["wait", name], ["controller", "--stop"]):
            subprocess.run(
                [sys.executable, "-m", "orchestrator", *command], env=self.environment, check=False, **self.talk("end")
            )

    def write_job(self, name: str, every: int, **changes: Any) -> Path:
        """A job of the user's own script, whose code is a copy of it."""
        code = self.place / "job"
        code.mkdir(exist_ok=True)
        (code / self.script.name).write_bytes(self.script.read_bytes())
        job = {
            "name": name,
            "code": ".",
            "run": " ".join([self.script.name, *self.arguments()]),
            "resources": {"nodes": NODES, "gpus_per_node": 1},
            "checkpoint": {"dir": "ckpt", "every": every},
            "env": {"OMP_NUM_THREADS": "1"},
            **changes,
        }
        path = code / "job.yaml"
        path.write_text(json.dumps(job, indent=2))
        return path

    def talk(self, name: str) -> dict[str, Any]:
        """Keyword arguments of Popen that send both streams of a process to a log in `place`."""
        return {"stdout": (self.place / f"{name}.log").open("ab"), "stderr": subprocess.STDOUT}

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the script recorded so far of one kind, in order."""
        if not self.record.exists():
            return []
        lines = self.record.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_for_step(self, step: int) -> dict[str, Any]:
        """The first recorded step >= `step`."""
        return self._wait(lambda steps: next((event for event in steps if event["step"] >= step), None))

    def wait_for_restart(self) -> dict[str, Any]:
        """The first recorded step that was done before: the first one after going back to a checkpoint."""
        return self._wait(
            lambda steps: next((new for old, new in itertools.pairwise(steps) if new["step"] <= old["step"]), None)
        )

    def _wait(self, find: Callable[[list[dict[str, Any]]], dict[str, Any] | None]) -> dict[str, Any]:
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            if (found := find(self.events("step"))) is not None:
                return found
            time.sleep(0.02)
        raise TimeoutError(f"not within {LIMIT:.0f} s; the logs are in {self.place}")


def finish(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process that must end well; wall seconds of the waiting."""
    started = time.perf_counter()
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        raise
    if code:
        raise subprocess.CalledProcessError(code, process.args)
    return time.perf_counter() - started


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
