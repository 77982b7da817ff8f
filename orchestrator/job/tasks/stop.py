"""What a rank does when it is asked to stop, or has had its time: store what goes on from here, and leave.

submitit's own handler rewrites the submitted pickle in place. Here the callable that `checkpoint` gives is committed as
a checkpoint of the run: the next start goes on from the newest that is proven, also after a node was lost since.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from submitit.core import logger
from submitit.core.utils import DelayedSubmission, UncompletedJobError

from orchestrator.job.system import proc
from orchestrator.job.tasks import pickles
from orchestrator.job.training.commit import commit
from orchestrator.job.training.control import Control
from orchestrator.job.training.environment import Environment
from orchestrator.job.training.records import Records

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
EARLY = 75.0  # seconds: Slurm sends the signal before a time limit up to a minute too soon
POLL_SECONDS = 0.2  # between two checks for rank 0's record
AGAIN_SECONDS = 10.0  # after which a function that goes on past its time is told once more


class Alone(Control):
    """The agreements of rank 0 with itself: the state of the other ranks is unknown when a signal comes."""

    @property
    def rank(self) -> int:
        return 0

    @property
    def world_size(self) -> int:
        return 1

    def any(self, *flags: bool) -> tuple[bool, ...]:
        return flags

    def share(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> Sequence[Any]:
        return [value]


class Clock:
    """The time of an attempt on its machine, which began with its agent. `seconds` is None where nothing bounds it.

    `loose`: a scheduler keeps it, in its own rough way.
    """

    def __init__(self, seconds: float | None, agent: int, *, loose: bool) -> None:
        self.seconds, self._loose = seconds, loose
        self._began = time.monotonic() - proc.age(agent)

    def left(self) -> float:
        """Seconds until a signal that is sent because of the time may come; only where something bounds it."""
        assert self.seconds is not None
        early = min(EARLY, 0.75 * self.seconds) if self._loose else 0.0
        return self._began + self.seconds - early - time.monotonic()

    def is_up(self) -> bool:
        """Whether a stop that comes now comes because of the time."""
        return self.seconds is not None and self.left() <= 0


def is_checkpointable(function: Any) -> bool:
    """As submitit sees it."""
    return any(hasattr(function, name) for name in ("__submitit_checkpoint__", "checkpoint"))


def successor(delayed: DelayedSubmission, *, timed_out: bool) -> DelayedSubmission:
    """What the next start shall call in place of `delayed`: what `checkpoint` returns, or one that ends the job."""
    try:
        return _successor(delayed, timed_out=timed_out)
    except UncompletedJobError as end:
        return DelayedSubmission(_end, str(end))
    except Exception:  # noqa: BLE001 - any error of the user's own method ends the job, with its traceback
        return DelayedSubmission(_end, f"Job not requeued because: checkpoint failed:\n{traceback.format_exc()}")


def _successor(delayed: DelayedSubmission, *, timed_out: bool) -> DelayedSubmission:
    countdown = delayed._timeout_countdown - timed_out  # noqa: SLF001 - submitit keeps it there
    if countdown < 0:
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")
    following = delayed._checkpoint_function()  # noqa: SLF001 - submitit calls `checkpoint` in there
    if following is None:
        raise UncompletedJobError("Job not requeued because: checkpoint function returned None.")
    following.set_timeout(delayed._timeout_min, countdown)  # noqa: SLF001 - submitit keeps it there
    return following


def _end(why: str) -> NoReturn:
    raise UncompletedJobError(why)


class Stopper:
    """Listens, in the main thread, from `listen` until `deafen`."""

    def __init__(
        self,
        environment: Environment,
        delayed: DelayedSubmission,
        clock: Clock,
        *,
        keeps_time: bool,
        leave: Callable[[], NoReturn],
    ) -> None:
        self._environment, self._records = environment, Records(environment)
        self._delayed, self._clock = delayed, clock
        self._keeps_time, self._leave = keeps_time, leave
        self._checkpointable = is_checkpointable(delayed.function)
        self._asked = False
        self._time_is_up = False
        self._pid = os.getpid()

    def listen(self) -> None:
        """A function that cannot be checkpointed is not registered: its agent ends it at once when it is asked to."""
        if self._checkpointable:
            self._records.register()
            for number in STOP_SIGNALS:
                signal.signal(number, self._on_stop)
        # The time of what cannot be checkpointed must be measured here: a start that was asked to stop has not failed.
        if self._environment.rank == 0 and (self._keeps_time or not self._checkpointable):
            self._start_timer()

    def deafen(self) -> None:
        """The function is over: what is left is quickly done, and must not be disturbed."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _start_timer(self) -> None:
        if self._clock.seconds is None:
            return
        if not self._checkpointable:
            signal.signal(signal.SIGUSR1, self._on_time_out)

        def wait() -> None:
            time.sleep(max(0.0, self._clock.left()))
            self._time_is_up = True
            while True:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                time.sleep(AGAIN_SECONDS)

        threading.Thread(target=wait, daemon=True, name="time limit").start()

    def _on_time_out(self, _number: int, _frame: FrameType | None) -> None:
        # Raised again until the function is over: what runs at that moment may swallow it, as JobEnvironment() does
        # while it looks for submitit's plugins.
        if os.getpid() == self._pid and self._time_is_up:
            raise UncompletedJobError("Job not requeued because: timed-out and not checkpointable.")

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A process that the function has forked has inherited the handler; it must still die of a SIGTERM.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._asked:
            return
        self._asked = True
        logger.get_logger().warning(f"Caught signal {signal.Signals(number).name}: this job shall stop.")
        if self._environment.rank == 0:
            self._store_and_leave(timed_out=self._clock.is_up())
        else:
            # The function goes on meanwhile, as under submitit: rank 0 may need it to finish a collective.
            threading.Thread(target=self._follow, daemon=True, name="follow rank 0").start()

    def _store_and_leave(self, *, timed_out: bool) -> NoReturn:
        logger.get_logger().info("Calling checkpoint method.")
        step = self._environment.resume_step + 1
        following = successor(self._delayed, timed_out=timed_out)
        directory = Path(self._environment.checkpoint_dir, f"checkpoint-{step}")
        try:
            pickles.dump(following, directory / pickles.SUBMITTED)
        except Exception:  # noqa: BLE001 - what cannot be pickled ends the job, and the next start says so
            message = f"Job not requeued because: its checkpoint cannot be stored:\n{traceback.format_exc()}"
            pickles.dump(DelayedSubmission(_end, message), directory / pickles.SUBMITTED)
        commit(Alone(), self._environment, str(directory), step)
        self._records.stopped(step)
        logger.get_logger().info("Exiting gracefully after preemption/timeout.")
        self._leave()

    def _follow(self) -> None:
        record = Path(self._environment.generation_dir, "stopped.json")
        while not record.exists():
            time.sleep(POLL_SECONDS)
        self._leave()
