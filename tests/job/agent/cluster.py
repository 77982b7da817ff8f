"""A bundle with a script of the user's own, and the agents of its nodes as real processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orchestrator
from orchestrator.job.agent.options import Options

LIBRARY = Path(orchestrator.__file__).parent.parent
# What a rank has without torch: its environment, and checkpoints that are committed by the real code.
PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path
from orchestrator.job.checkpoints import manifest, retention
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
HERE = Path(os.environ["ORCH_GENERATION_DIR"])
GENERATION, RESUMED = int(os.environ["ORCH_GENERATION"]), int(os.environ["ORCH_RESUME_STEP"])

def commit(step, keep=3):
    directory = HERE / "checkpoints" / f"checkpoint-{step}"
    directory.mkdir()
    (directory / "weights").write_text(f"weights of step {step}")
    (HERE / "manual-commits").touch()
    manifest.write_commit(directory, step=step, generation=GENERATION, attempt=int(os.environ["ORCH_ATTEMPT"]),
        run_id=os.environ["ORCH_RUN_ID"], world_size=WORLD, files=manifest.hash_files(directory, ["weights"]))
    retention.prune(HERE.parent.parent, GENERATION, keep)

def metric(step):
    with (HERE / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "loss": 1 / step, "generation": GENERATION, "time": time.time()}) + "\\n")

def session():
    (HERE / "ranks" / f"rank-{RANK}.session").write_text(json.dumps({"rank": RANK, "pid": os.getpid()}))

"""


class Cluster:
    """One run's bundle and directories below `base`; ends everything it started when it is closed."""

    def __init__(self, base: Path, script: str, **job: Any) -> None:
        self.base, self.bundle, self.run_dir = base, base / "bundle", base / "run"
        self.root = self.run_dir / "ckpt"
        (self.bundle / "code").mkdir(parents=True)
        (self.bundle / "lib").mkdir()
        (self.bundle / "lib" / "orchestrator").symlink_to(LIBRARY / "orchestrator")
        (self.bundle / "code" / "train.py").write_text(PRELUDE + textwrap.dedent(script))
        self.job = {
            "format": 1,
            "name": "toy",
            "run_id": "0123456789ab",
            "nodes": 2,
            "ranks_per_node": 1,
            "device": "cpu",
            "launcher": "torchrun",
            "python": None,
            "command": ["train.py"],
            "code": "code",
            "checkpoint_dir": "ckpt",
            "keep": 3,
            "max_failures": 5,
            "timeouts": {"join": 60, "heartbeat": 10, "grace": 20, "hang": None},
            "signatures": [],
            **job,
        }
        (self.bundle / "job.json").write_text(json.dumps(self.job))
        self.agents: list[subprocess.Popen[bytes]] = []

    def agent(
        self,
        node: int,
        *options: str,
        attempt: int = 1,
        start: str = "start-1",
        env: Mapping[str, str] = {},
        **paths: Path,
    ) -> subprocess.Popen[bytes]:
        """Starts one agent; its output goes to a log that `story` shows."""
        argv = [sys.executable, "-m", "orchestrator.job.agent", "--bundle", str(paths.get("bundle", self.bundle))]
        argv += ["--run-dir", str(paths.get("run_dir", self.run_dir)), "--node", str(node), "--attempt", str(attempt)]
        argv += ["--start", start, "--address", "127.0.0.1", *options]
        with (self.base / f"agent-{node}.log").open("ab") as log:
            agent = subprocess.Popen(
                argv,
                env={**os.environ, "PYTHONPATH": str(self.bundle / "lib"), **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.agents.append(agent)
        return agent

    def start(self, *options: str, **named: Any) -> list[subprocess.Popen[bytes]]:
        """Starts the agents of all nodes."""
        return [self.agent(node, *options, **named) for node in range(self.job["nodes"])]

    def wait(self, agents: list[subprocess.Popen[bytes]], seconds: float = 300) -> list[int]:
        """The exit statuses of agents."""
        end = time.monotonic() + seconds
        try:
            return [agent.wait(timeout=max(0.1, end - time.monotonic())) for agent in agents]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"agents still run after {seconds} s\n{self.story()}") from None

    def until(self, what: Callable[[], Any], seconds: float = 240, hint: str = "") -> Any:
        """Polls until `what` gives something true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def generation(self, number: int) -> Path:
        return self.root / "generations" / f"{number:06d}"

    def claim(self, number: int) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.generation(number).with_suffix(".json").read_text())
        return value

    def outcome(self, number: int) -> dict[str, Any]:
        path = self.generation(number) / "outcome.json"
        assert path.exists(), f"generation {number} has no outcome\n{self.story()}"
        value: dict[str, Any] = json.loads(path.read_text())
        return value

    def until_step(self, step: int, generation: int = 1) -> None:
        """Waits until rank 0 of a generation has logged a step."""
        path = self.generation(generation) / "metrics.jsonl"
        self.until(
            lambda: path.exists() and f'"step": {step},' in path.read_text(), hint=f"step {step} of {generation}"
        )

    def rank_pid(self, rank: int, generation: int = 1) -> int:
        path = self.generation(generation) / "ranks" / f"rank-{rank}.json"
        self.until(path.exists, hint=f"rank {rank} of generation {generation}")
        return int(json.loads(path.read_text())["pid"])

    def listens(self, agent: subprocess.Popen[bytes]) -> bool:
        """Whether an agent, and not yet Python's default, gets SIGUSR1."""
        status = Path(f"/proc/{agent.pid}/status").read_text()
        caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGUSR1 - 1) & 1)

    def options(self, node: int, start: str = "start-1") -> Options:
        """What an agent of this cluster was told."""
        return Options(self.bundle, self.run_dir, node, 1, start, "127.0.0.1", None, False, None)

    def processes(self, *needles: str) -> list[int]:
        """Processes of this cluster, but its zombies, whose command line has all the needles."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            line = command.replace(b"\0", b" ").decode(errors="replace")
            ours = os.fsencode(self.base) in environment + command
            if line and ours and all(needle in line for needle in needles):
                found.append(int(entry.name))
        return found

    def story(self) -> str:
        logs = sorted(self.base.glob("agent-*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)

    def close(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for agent in self.agents:
            agent.wait()
