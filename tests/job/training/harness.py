"""A generation set up by hand, as an agent would, and ranks started in it by torchrun."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.job.agent.launcher import free_port
from orchestrator.job.checkpoints import manifest
from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.protocol.records import Claim, Sealed

ROOT = Path(__file__).resolve().parents[3]
STEPS = 10
GLOBAL_BATCH = 4
MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 272,
    "max_position_embeddings": 64,
    "attention_dropout": 0.1,  # so that a resume has to restore each rank's random numbers
}


def ds_config(stage: int, *, offload: bool = False, precision: str = "fp32") -> dict[str, Any]:
    """A configuration as orch renders it. No optimizer section: Hugging Face's AdamW resumes bit by bit."""
    zero: dict[str, Any] = {"stage": stage}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
        zero["offload_param"] = {"device": "cpu", "pin_memory": False}
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "train_batch_size": GLOBAL_BATCH,
        "gradient_clipping": 1.0,
        "zero_optimization": zero,
        "steps_per_print": 1_000_000,
    }
    if precision != "fp32":
        config[precision] = {"enabled": True}
    if offload:
        config["zero_force_ds_cpu_optimizer"] = False
    return config


@dataclass
class Job:
    """A run's checkpoint directory and the bundle beside it."""

    directory: Path
    config: Mapping[str, Any]
    every_steps: int | None = 3
    job: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    extensions: Path | None = None  # of compiled operators, in place of the user's
    generation: int = 0
    resume: tuple[Path, int] | None = None

    def __post_init__(self) -> None:
        text = self.directory / "text"
        text.mkdir(parents=True)
        for name in ("b.txt", "a.txt"):
            (text / name).write_text("".join(f"{name} line {n}: the quick brown fox\n" for n in range(40)))
        bundle = self.directory / "bundle"
        bundle.mkdir()
        (bundle / "ds_config.json").write_text(json.dumps(self.config))
        (bundle / "job.json").write_text(json.dumps(self._job_json(str(text / "*.txt"))))

    def _job_json(self, files: str) -> dict[str, Any]:
        training: dict[str, Any] = {
            "model": {"path": None, "revision": None, "config": MODEL},
            "tokenizer": "bytes",
            "data": {"files": [files], "dataset": None, "split": "train", "text_field": "text", "sequence_length": 32},
            "global_batch": GLOBAL_BATCH,
            "micro_batch": 1,
            "accumulation": 2,
            "learning_rate": 1e-3,
            "precision": "fp32",
            "gradient_checkpointing": False,
            "seed": 1,
            "log_every": 1,
            "args": {},
        }
        job: dict[str, Any] = {
            "format": 1,
            "name": "test",
            "run_id": "0123456789ab",
            "nodes": 1,
            "ranks_per_node": 1,
            "checkpoint_dir": "checkpoints",
            "max_failures": 1,
            "device": "cpu",
            "every_steps": self.every_steps,
            "every_seconds": None,
            "keep": 3,
            "steps": STEPS,
            "epochs": None,
            "command": None,
            "training": {**training, **self.training},
        }
        return {**job, **self.job}

    @property
    def root(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def generation_dir(self) -> Path:
        return self.root / "generations" / f"{self.generation:06d}"

    def start(self, *command: str, ranks: int = 2) -> Ranks:
        """Claims the next generation and starts `command` (default: the built-in trainer) on `ranks` ranks."""
        self.generation += 1
        self._claim()
        (self.generation_dir / "checkpoints").mkdir(parents=True)
        env = {**os.environ, **self._environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(ranks)]
        launcher += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "--max-restarts", "0"]
        launcher += list(command or ("-m", "orchestrator.job.training.main"))
        log = self.generation_dir / "launcher.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                launcher, env=env, cwd=self.directory, stdout=out, stderr=out, start_new_session=True
            )
        return Ranks(process, log, self.generation_dir)

    def run(self, *command: str, ranks: int = 2) -> str:
        """Starts, waits for the end, which must be good, and returns the log."""
        started = self.start(*command, ranks=ranks)
        assert started.wait() == 0, started.text()
        return started.text()

    def _claim(self) -> None:
        sealed = ()
        if self.resume is not None:
            path, step = self.resume
            sealed = (Sealed(str(path.relative_to(self.root)), step, str(manifest.digest(path))),)
        claim = Claim(
            self.generation, "test", "0123456789ab", 1, "start", 1, "127.0.0.1", 0, time.time(), sealed=sealed
        )
        assert write_claim(self.root, claim)

    def _environment(self) -> dict[str, str]:
        variables = {
            "ORCH_RUN": "test",
            "ORCH_RUN_ID": "0123456789ab",
            "ORCH_ATTEMPT": "1",
            "ORCH_GENERATION": str(self.generation),
            "ORCH_NODE": "0",
            "ORCH_GENERATION_DIR": str(self.generation_dir),
            "ORCH_CHECKPOINT_DIR": str(self.generation_dir / "checkpoints"),
            "ORCH_BUNDLE": str(self.directory / "bundle"),
            "ORCH_DS_CONFIG": str(self.directory / "bundle" / "ds_config.json"),
        }
        if self.extensions is not None:
            variables["TORCH_EXTENSIONS_DIR"] = str(self.extensions)
        if self.resume is not None:
            variables["ORCH_RESUME_FROM"], variables["ORCH_RESUME_STEP"] = str(self.resume[0]), str(self.resume[1])
        return variables

    def losses(self) -> dict[int, float]:
        """Step to loss, of the newest generation's metrics."""
        lines = (self.generation_dir / "metrics.jsonl").read_text().splitlines()
        return {line["step"]: line["loss"] for line in map(json.loads, lines)}


@dataclass
class Ranks:
    """Started ranks under their launcher."""

    process: subprocess.Popen[bytes]
    log: Path
    generation_dir: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, timeout: float = 240) -> int:
        """The launcher's exit status."""
        return self.process.wait(timeout)

    def wait_for(self, path: str, timeout: float = 240) -> Path:
        """Waits until a file of the generation's directory exists."""
        wanted = self.generation_dir / path
        deadline = time.monotonic() + timeout
        while not wanted.exists():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"{wanted} did not appear\n{self.text()}"
            time.sleep(0.02)
        return wanted

    def pid(self, rank: int) -> int:
        return int(json.loads(self.wait_for(f"ranks/rank-{rank}.session").read_text())["pid"])

    def kill(self, ranks: Sequence[int] = (0, 1)) -> None:
        """kill -9 of ranks, then of whatever is left of the launcher's process group."""
        for pid in [self.pid(rank) for rank in ranks]:
            with contextlib.suppress(ProcessLookupError):  # the launcher may be quicker with the second
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
