"""What the tests submit: importable where they run, so pickled by reference."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import submitit

from orchestrator.submitit import OrchExecutor


def add(one: int, other: int = 0) -> int:
    print(f"adding {one} and {other}")
    print("said to stderr", file=sys.stderr)
    return one + other


def fail(words: str) -> None:
    print("about to fail", file=sys.stderr)
    raise ValueError(words)


def leave(status: int) -> None:
    sys.exit(status)


def unpicklable() -> Any:
    return (number for number in range(3))


def who_am_i() -> dict[str, Any]:
    env = submitit.JobEnvironment()
    names = ("job_id", "num_tasks", "num_nodes", "node", "global_rank", "local_rank")
    told = {name: getattr(env, name) for name in names}
    return {**told, "cluster": env.cluster, "hostnames": list(env.hostnames), "pickle": env.paths.submitted_pickle}


def fail_on_rank(rank: int) -> int:
    own = submitit.JobEnvironment().global_rank
    if own == rank:
        raise ValueError(f"rank {rank} fails")
    time.sleep(60)
    return own


def swallow_the_first(seconds: float) -> str:
    with contextlib.suppress(Exception):
        time.sleep(seconds)
    time.sleep(seconds)
    return "past its time"


def sum_of_ranks() -> int:
    """Torch finds the other ranks by the variables that are there."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    value = torch.tensor([dist.get_rank() + 1])
    dist.all_reduce(value)
    dist.destroy_process_group()
    return int(value.item())


class Counter(submitit.helpers.Checkpointable):
    """Counts to `end`, or until a file says that it is enough; a line in `log` for each start and each number."""

    def __init__(self, log: Path, seconds: float = 0.1) -> None:
        self.log, self.seconds = log, seconds
        self.count = 0

    def __call__(self, end: int, bonus: int = 0) -> int:
        self._write(f"start {submitit.JobEnvironment().global_rank} {self.count}")
        enough = self.log.with_suffix(".enough")
        while self.count < end and not enough.exists():
            time.sleep(self.seconds)
            self.count += 1
            self._write(f"count {self.count}")
        return self.count + bonus

    def _write(self, line: str) -> None:
        if submitit.JobEnvironment().global_rank == 0:
            with self.log.open("a") as file:
                file.write(f"{line}\n")


class NoCheckpoint(Counter):
    def checkpoint(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override] # noqa: RUF100 - as users write it
        return None


def count(log: Path, end: int) -> int:
    """As Counter does, but it cannot be checkpointed."""
    return Counter(log)(end)


def where() -> tuple[str, str | None]:
    return str(Path.cwd()), os.environ.get("WORD")


def submit_more(folder: Path) -> int:
    return OrchExecutor(folder).submit(add, 1).result()


def train(log: Path, steps: int) -> int:
    """A function with checkpoints of its own, by a Session."""
    from orchestrator.training import Session

    session = Session.start()
    step = session.resume_step
    with log.open("a") as file:
        file.write(f"start 0 {step}\n")
    while step < steps:
        time.sleep(0.1)
        step += 1
        leave = session.step(step, steps)
        with log.open("a") as file:
            file.write(f"count {step}\n")
        if leave:
            directory = Path(session.checkpoint_dir, f"checkpoint-{step}")
            directory.mkdir()
            (directory / "state").write_text(str(step))
            session.commit(str(directory), step)
            session.stopped(step)
    session.attest(step)
    return step
