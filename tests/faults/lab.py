"""A real run in a directory of its own: the real command, the real processes, the real files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import forks

TEXT = "".join(f"{i} is {'even' if i % 2 == 0 else 'odd'} and {i} squared is {i * i}.\n" for i in range(4000))
MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 320,
    "max_position_embeddings": 128,
}


class Lab:
    """One ORCH_HOME and one job directory below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.jobs = root / "jobs"
        self.jobs.mkdir(parents=True)
        (self.jobs / "text.txt").write_text(TEXT)
        self.env = {**os.environ, "ORCH_HOME": str(self.home), "PYTHON": sys.executable}
        self.env.pop("ORCH_CONFIG", None)

    def job(self, name: str = "tiny", *, zero: int = 2, offload: str = "none", steps: int = 40, **changes: Any) -> Path:
        """Write a job of two nodes with one rank each; `changes` replace whole top-level keys."""
        document: dict[str, Any] = {
            "name": name,
            "model": {"config": MODEL},
            "data": {"files": "text.txt", "sequence_length": 64},
            "training": {"steps": steps, "global_batch": 4, "learning_rate": 1e-3, "precision": "fp32", "seed": 1},
            "deepspeed": {"zero": zero, "offload": offload},
            "resources": {"nodes": 2, "gpus_per_node": 1},
            "checkpoint": {"dir": "ckpt", "every": 10, "keep": 3},
            **changes,
        }
        path = self.jobs / f"{name}.yaml"
        path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
        return path

    def orch(self, *args: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the real command line to its end."""
        done = forks.run(args, cwd=self.jobs, env=self.env, timeout=timeout)
        if check and done.returncode != 0:
            said = f"{done.stdout}\n{done.stderr}\n{self.story()}"
            raise AssertionError(f"orch {' '.join(args)} ended {done.returncode}\n{said}")
        return done

    def submit(self, job: Path, *args: str) -> str:
        return self.orch("submit", str(job), *args).stdout.strip()

    def status(self, run: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.orch("status", run, "--json").stdout)
        return value

    def events(self, run: str) -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = json.loads(self.orch("events", run, "--json").stdout)
        return value

    def losses(self, run: str) -> dict[int, float]:
        """Loss by step, exactly as recorded, from the metrics file that `orch status` names."""
        lines = Path(self.status(run)["metrics"]).read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["step"] for row in rows] == sorted({row["step"] for row in rows}), "one line a step, in order"
        return {row["step"]: row["loss"] for row in rows}

    def counted(self, run: str) -> dict[int, float]:
        """Loss by step as the run's generations count, by reading what its claims name."""
        losses: dict[int, float] = {}
        for generation in self.generations(run):
            claim = json.loads((generation.parent / f"{generation.name}.json").read_text())
            first = claim["resume"]["step"] if claim.get("resume") else 0
            losses = {step: loss for step, loss in losses.items() if step <= first}
            with contextlib.suppress(FileNotFoundError):
                for line in (generation / "metrics.jsonl").read_text().splitlines():
                    with contextlib.suppress(ValueError):
                        row = json.loads(line)
                        losses[row["step"]] = row["loss"]
        return losses

    def checkpoints(self, run: str) -> Path:
        return self.home / "runs" / run / "ckpt"

    def generations(self, run: str) -> list[Path]:
        """The directories of all generations, oldest first."""
        return sorted(path for path in (self.checkpoints(run) / "generations").glob("[0-9]*") if path.is_dir())

    def outcomes(self, run: str) -> list[dict[str, Any]]:
        found = [path / "outcome.json" for path in self.generations(run)]
        return [json.loads(path.read_text()) for path in found if path.exists()]

    def step(self, run: str) -> tuple[int, int]:
        """(newest generation, its newest logged step), (0, 0) before the first."""
        found = self.generations(run)
        if not found:
            return 0, 0
        try:
            rows = (found[-1] / "metrics.jsonl").read_text().splitlines()
            return int(found[-1].name), json.loads(rows[-1])["step"] if rows else 0
        except (OSError, ValueError):
            return int(found[-1].name), 0

    def until(self, what: Callable[[], Any], *, seconds: float = 240, hint: str = "") -> Any:
        """Poll until `what` gives something true; fails with the run's story after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def until_step(self, run: str, step: int, *, generation: int = 1) -> None:
        def reached() -> bool:
            now = self.step(run)
            return now[0] == generation and now[1] >= step

        self.until(reached, hint=f"step {step} of generation {generation}")

    def finish(self, run: str, *, seconds: float = 240) -> dict[str, Any]:
        """Wait for the run's end; the run must have succeeded."""
        self.orch("wait", run, timeout=seconds)
        status = self.status(run)
        assert status["phase"] == "succeeded", status
        return status

    def story(self) -> str:
        """What a person would want to read when a test fails."""
        globs = ("*.log", "home/controller.log", "home/runs/*/attempts/*/*.log")
        logs = [path for glob in globs for path in self.root.glob(glob)]
        return "\n".join(f"--- {log}\n{log.read_text()[-3000:]}" for log in logs)

    def processes(self, *needles: str) -> list[int]:
        """Ids of processes of this lab whose command line holds every needle."""
        return [pid for pid, line in self._mine() if all(needle in line for needle in needles)]

    def rank_pids(self, run: str) -> list[int]:
        """Process ids of the newest generation's ranks, in the order of ranks."""
        records = sorted((self.generations(run)[-1] / "ranks").glob("rank-?.json"))
        return [json.loads(record.read_text())["pid"] for record in records]

    def _mine(self) -> Iterator[tuple[int, str]]:
        mark = f"ORCH_HOME={self.home}".encode()
        place = str(self.root).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environ, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0") or place in environ or place in line:
                yield int(entry.name), line.replace(b"\0", b" ").decode(errors="replace")

    def kill_everything(self) -> None:
        """kill -9 of whatever belongs to this lab; used as a fault and as the last act of a test."""
        for pid, _ in list(self._mine()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
