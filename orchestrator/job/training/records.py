"""The small files that a rank leaves in its generation's directory, for the agent and for `orch status`."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Callable, Optional

from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import MANUAL_COMMITS
from orchestrator.job.protocol.records import LoggedStep, RankDone, RankError, RankProgress, RankSession, Stopped
from orchestrator.job.system.atomic import create_json, write_json, write_reserved
from orchestrator.job.training.environment import Environment

PROGRESS_INTERVAL = 1.0  # seconds between two writes of progress.json while the state stays the same


class Records:
    """The records of one rank. Progress and metrics are rank 0's; the other ranks' calls write nothing."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._directory = Path(environment.generation_dir)
        self._state: Optional[str] = None
        self._step = environment.resume_step
        self._steps: Optional[int] = None
        self._written = 0.0
        self._seconds_from = time.monotonic()
        self._tokens_from: Optional[float] = None

    def register(self, *, explicit: bool = True) -> None:
        """Tells the agent that this rank understands a request to stop, and with `explicit` that only commits count."""
        session = self._rank_file(files.rank_session)
        session.parent.mkdir(parents=True, exist_ok=True)
        if self._environment.rank == 0:
            Path(self._environment.checkpoint_dir).mkdir(parents=True, exist_ok=True)
            if explicit:
                (self._directory / MANUAL_COMMITS).touch()
        write_json(session, to_json(RankSession(self._environment.rank, os.getpid())), sync=False)

    def progress(self, state: str, step: Optional[int] = None, steps: Optional[int] = None) -> None:
        """Records the state and the step; a change of state at once, anything else at most once a second."""
        self._step = self._step if step is None else step
        self._steps = self._steps if steps is None else steps
        now = time.monotonic()
        if state == self._state and now - self._written < PROGRESS_INTERVAL:
            return
        self._state, self._written = state, now
        if self._environment.rank == 0:
            progress = RankProgress(state, self._step, self._steps, time.time())
            write_json(self._directory / files.PROGRESS, to_json(progress), sync=False)

    def metrics(
        self,
        step: int,
        loss: Optional[float],
        tokens: Optional[float],
        learning_rate: Optional[float],
        peak_memory: Optional[int],
        *,
        say: bool,
    ) -> None:
        """Appends the line of one logged step to metrics.jsonl, and prints a sentence with `say`.

        `loss` is written with every digit it has (null when it is not finite). `tokens` counts from step 0 of the run;
        `seconds` is the wall time since the line before, or since training began; `peak_memory` is in bytes.
        """
        if self._environment.rank != 0:
            return
        now = time.monotonic()
        seconds = now - self._seconds_from
        rate = None
        if tokens is not None and self._tokens_from is not None and seconds > 0:
            rate = (tokens - self._tokens_from) / seconds
        self._seconds_from, self._tokens_from = now, tokens
        line = LoggedStep(
            attempt=self._environment.attempt,
            generation=self._environment.generation,
            step=step,
            loss=loss if loss is not None and math.isfinite(loss) else None,
            learning_rate=learning_rate,
            tokens=tokens,
            seconds=seconds,
            tokens_per_second=rate,
            peak_memory=peak_memory,
            time=time.time(),
        )
        with (self._directory / files.METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_json(line)) + "\n")
        if say:
            print(_sentence(step, self._steps, loss, learning_rate, rate), flush=True)

    def start_counting(self, tokens: Optional[float]) -> None:
        """Throughput counts from here: `tokens` is what the run had seen before this generation's first step."""
        self._seconds_from, self._tokens_from = time.monotonic(), tokens

    def stopped(self, step: int) -> None:
        """Rank 0: the checkpoint of an agreed stop is committed."""
        if self._environment.rank == 0:
            write_json(self._directory / files.STOPPED, to_json(Stopped(step, time.time())))

    def done(self, step: Optional[int]) -> None:
        """This rank attests that the training came to its end."""
        create_json(self._rank_file(files.rank_done), to_json(RankDone(self._environment.rank, step)))

    def error(self, error: BaseException, trace: str, cause: Optional[Cause] = None) -> None:
        """This rank's error, in the form in which the rank wrapper records an uncaught one."""
        record = RankError(
            rank=self._environment.rank,
            node=self._environment.node,
            time=time.time(),
            type=type(error).__name__,
            message=str(error),
            traceback=trace,
            cause=cause,
        )
        write_reserved(self._rank_file(files.rank_error), to_json(record))

    def _rank_file(self, name: Callable[[int], str]) -> Path:
        return self._directory / files.RANKS / name(self._environment.rank)


def _sentence(
    step: int, steps: Optional[int], loss: Optional[float], learning_rate: Optional[float], rate: Optional[float]
) -> str:
    parts = [f"step {step}/{steps}" if steps else f"step {step}"]
    if loss is not None:
        parts.append(f"loss {loss:.4f}")
    if learning_rate is not None:
        parts.append(f"lr {learning_rate:.3g}")
    if rate is not None:
        parts.append(f"{rate:,.0f} tokens/s")
    return " ".join(parts)
