"""A job of the ordinary user's on the test bed: rendered, submitted, watched through its own files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbeds import proc
from testbeds.slurm.cluster import Cluster
from tests.faults.lab import MODEL, TEXT, Lab

CODE = Path(__file__).parent / "code"
STEPS = 30
EVERY = 5  # steps between checkpoints
SLOW = 0.3  # seconds of a step: a fault in the middle of training needs a middle
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", ""}
DS_CONFIG = {
    "zero_optimization": {"stage": 2},
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 1,
    "zero_allow_untested_optimizer": True,
    "steps_per_print": 1000000,
}


class SlurmLab(Lab):
    """One ORCH_HOME, one configuration with the cluster `hpc`, one shared directory; all of them the user's."""

    def __init__(self, cluster: Cluster, root: Path, **profile: Any) -> None:
        super().__init__(root)
        self.cluster = cluster
        self.shared = root / "shared"
        self.config = root / "config.yaml"
        for path in (self.home, self.shared):
            path.mkdir()
        self.profile(**profile)
        self.env = cluster.environment({"ORCH_HOME": str(self.home), "ORCH_CONFIG": str(self.config)})
        for path in (root, *root.rglob("*")):
            cluster.own(path)

    def profile(self, **changes: Any) -> None:
        """Write the configuration; a value of None takes a key away."""
        # The same PATH however a job gets its environment: operators are compiled again when another ninja is found.
        env = {"TORCH_EXTENSIONS_DIR": str(self.cluster.operators), "PATH": self.cluster.environment()["PATH"]}
        profile = {
            "kind": "slurm", "partition": "low", "shared_dir": str(self.shared), "python": sys.executable,
            "device": "cpu", "env": env, **changes,
        }  # fmt: skip
        hpc = {key: value for key, value in profile.items() if value is not None}
        self.config.write_text(json.dumps({"default": "hpc", "clusters": {"hpc": hpc}}))

    def job(
        self,
        name: str = "tiny",
        *,
        seconds: float = 0.0,
        after: int = 0,
        slow: int = 1,
        deaf: bool = False,
        **changes: Any,
    ) -> Path:
        """A job of two nodes with one rank each.

        In the first `slow` generations each step but the first `after` takes `seconds` longer. `deaf`: the
        first one commits what it saves without a look at newer claims.
        """
        code = self.jobs / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text((CODE / "train.py").read_text())
        document = {
            "name": name,
            "code": "code",
            "run": f"train.py --steps {STEPS} --seconds {seconds} --after {after} --slow {slow}{' --deaf' * deaf}",
            "deepspeed": {"zero": 2, "config": DS_CONFIG},
            "resources": {"nodes": 2, "gpus_per_node": 1},
            "checkpoint": {"dir": "ckpt", "every": EVERY, "keep": 3},
            **changes,
        }
        path = self.jobs / f"{name}.yaml"
        path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
        for made in (path, code, *code.rglob("*")):
            self.cluster.own(made)
        return path

    def quickstart(self, name: str = "quick", *, nodes: int = 2, steps: int = STEPS) -> Path:
        """A job for orch's own trainer; its text lies where the nodes see it."""
        text = self.shared / "text.txt"
        text.write_text(TEXT)
        self.cluster.own(text)
        training = {"steps": steps, "global_batch": 4, "learning_rate": 1e-3, "precision": "fp32", "seed": 1}
        return self.job(
            name,
            code=None,
            run=None,
            model={"config": MODEL},
            data={"files": "text.txt", "sequence_length": 64},
            training=training,
            deepspeed={"zero": 2},
            resources={"nodes": nodes, "gpus_per_node": 1},
            checkpoint={"dir": "ckpt", "every": 10, "keep": 3},
        )

    def script(self, name: str, text: str, **changes: Any) -> Path:
        """A job with a script of its own, which need not train."""
        path = self.job(name, run=f"{name}.py", **changes)
        script = self.jobs / "code" / f"{name}.py"
        script.write_text(text)
        self.cluster.own(script)
        return path

    def orch(self, *args: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "orchestrator", *args)
        done = self.cluster.run(*command, env=self.env, cwd=self.jobs, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise AssertionError(
                f"orch {' '.join(args)} ended {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.story()}"
            )
        return done

    def by_hand(self, job: Path, *options: str) -> str:
        """Render the job and submit its script with sbatch; the id of Slurm's job. No orch process is left."""
        bundle = self.root / "out" / job.stem
        self.orch("render", str(job), "-c", "hpc", "-o", str(bundle))
        return self.cluster.sbatch(*options, str(bundle / "job.sbatch"), cwd=self.root)

    def run_dir(self, run: str) -> Path:
        return self.shared / "runs" / run

    def checkpoints(self, run: str) -> Path:
        return self.run_dir(run) / "ckpt"

    def until(self, what: Callable[[], Any], *, seconds: float = 240, hint: str = "") -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.1)  # many of these questions start a process
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def until_success(self, run: str, *, seconds: float = 400) -> None:
        """Wait for the success marker of the newest generation, by the run's own files."""
        self.until(
            lambda: any((path / "success.json").exists() for path in self.generations(run)),
            seconds=seconds,
            hint=f"{run} has finished",
        )

    def until_gone(self, job: str, *, seconds: float = 180) -> str:
        """Wait until Slurm is through with a job; its last word for it."""
        over = lambda: [state for state in [self.cluster.state(job)] if state in OVER]  # noqa: E731 - short
        [state] = self.until(over, seconds=seconds, hint=f"job {job} is over")
        return str(state)

    def as_if_nothing_had_happened(self, expected: dict[int, float], job: str, run: str = "tiny") -> None:
        """Every step once, the losses of the undisturbed run, and nothing left behind."""
        self.until_success(run)
        losses = self.counted(run)
        assert sorted(losses) == list(range(1, STEPS + 1))
        assert losses == pytest.approx(expected, abs=1e-6)
        assert self.until_gone(job) == "COMPLETED"
        self.until(lambda: not self.tasks(), seconds=180, hint="no agent, launcher or rank is left")

    def states(self, job: str) -> list[str]:
        """How the lives of a job ended, as accounting tells it, once it knows of the last."""

        def known() -> list[str] | None:
            told = [life.state for life in self.cluster.accounted(job)]
            return told if told and told[-1].split()[0] in OVER else None

        found: list[str] = self.until(known, seconds=180, hint="accounting knows of the end")
        return found

    def preempt(self, job: str) -> None:
        """A job of higher priority takes the nodes of this one."""
        nodes = self.cluster.hosts(job)
        where = (f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}", "--exclusive", "--output=/dev/null")
        self.cluster.sbatch("--partition=high", *where, "--wrap=sleep 3", cwd=self.root)
        self.until_restarted(job)

    def hosts_of_ranks(self, run: str) -> list[str]:
        """Where the nodes of the newest generation say that they are, in their order."""
        joined = sorted(self.generations(run)[-1].glob("node-*.json"))
        return [json.loads(path.read_text())["host"] for path in joined]

    def scheduled(self, run: str) -> list[str]:
        """Ids of the jobs that were made for the attempts of a run, oldest first; Slurm has not forgotten any yet."""
        told = self.cluster.admin("squeue", "--noheader", "--states=all", "--format=%A|%Z").splitlines()
        placed = (line.split("|") for line in told)
        return sorted((job for job, place in placed if place.startswith(f"{self.run_dir(run)}/")), key=int)

    def until_scheduled(self, run: str) -> str:
        """The id of the only job of a run."""
        [job] = self.until(lambda: self.scheduled(run), hint=f"{run} has a job")
        return str(job)

    def until_restarted(self, job: str, *, seconds: float = 240) -> None:
        """Wait until Slurm has put a job back into its queue."""
        self.until(lambda: self.cluster.restarts(job) == 1, seconds=seconds, hint=f"job {job} was requeued")

    def tasks(self, *needles: str, node: str | None = None) -> list[int]:
        """Processes of this lab's Slurm jobs, agents and ranks among them."""
        mine = os.fsencode(self.root)
        return [
            pid for pid in self.cluster.processes(*needles, node=node, tasks_only=True) if mine in proc.environment(pid)
        ]

    def story(self) -> str:
        globs = ("home/controller.log", "shared/*.log", "*.log", "shared/runs/*/attempts/*/*.log")
        logs = [path for glob in globs for path in self.root.glob(glob)]
        logs += list(self.root.glob("shared/runs/*/ckpt/generations/*/outcome.json"))
        told = "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
        return f"{told}\n{self.cluster.story()}"

    def _mine(self) -> Iterator[tuple[int, str]]:
        for pid, line in super()._mine():
            if not line.startswith("slurmstepd"):
                yield pid, line

    def kill_orch(self) -> None:
        """kill -9 of every orch process outside of Slurm's jobs: the controller."""
        for pid, line in list(self._mine()):
            if "orchestrator" in line and b"SLURM_JOB_ID=" not in proc.environment(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Undisturbed:
    """A job that nothing happened to, submitted by hand with nothing of the submitter's environment."""

    lab: SlurmLab
    job: str
    losses: dict[int, float]
