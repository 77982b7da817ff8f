"""A script's side of the agreement with its agent: stop together, save together, commit what was saved.

    session = Session.start()
    step = load(session.resume_from) if session.resume_from else 0
    while step < steps:
        loss = train_one_step()
        step += 1
        leave = session.step(step, steps, loss=loss, tokens=step * tokens_per_step)
        if session.save_due or leave:
            directory = os.path.join(session.checkpoint_dir, f"checkpoint-{step}")
            save(directory)                      # every rank, as the script always did
            session.commit(directory, step)
        if leave:
            session.stopped(step)                # does not return
    session.done()                               # does not return under orch

Outside orch (no ORCH_ variables) every call does nothing, so that the same script runs by hand.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, Optional

from orchestrator.job.training.commit import commit
from orchestrator.job.training.control import Control
from orchestrator.job.training.environment import Environment, TrainingError, read_environment
from orchestrator.job.training.records import Records

AGREE_SECONDS = 1.0  # between two agreements where steps are short: each costs a message between all ranks
STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class Session:
    """One rank's session. Make it with `Session.start()`, once, in the main thread, on every rank."""

    explicit = False  # whether a script has started one itself

    def __init__(self, environment: Optional[Environment], *, seldom: bool = False) -> None:
        self._environment = environment
        self._records = Records(environment) if environment else None
        self._control = Control()
        self._stop_asked = False
        self._saved_at = time.monotonic()
        self._due = False
        self._pid = os.getpid()
        self._seldom = seldom
        self._agrees_at = 0  # the step of the next agreement, where not each is one
        self._agreed: Optional[tuple[int, float]] = None  # at which step, and when

    @classmethod
    def start(cls, *, explicit: bool = True, seldom: bool = False) -> Session:
        """Registers this rank with its agent and begins to listen for a request to stop.

        `explicit`: only what is committed counts. `seldom`: the ranks agree about once in a second, not at each step.
        """
        session = cls(read_environment(), seldom=seldom)
        Session.explicit = Session.explicit or explicit
        if session._records is not None:
            for number in STOP_SIGNALS:
                signal.signal(number, session._on_signal)
            session._records.register(explicit=explicit)
            session._records.progress("loading")
        return session

    @property
    def active(self) -> bool:
        """False outside orch."""
        return self._environment is not None

    @property
    def environment(self) -> Environment:
        """Raises TrainingError outside orch."""
        if self._environment is None:
            raise TrainingError(
                "No orch agent started this process: the ORCH_ variables are not set. Use `orch submit`."
            )
        return self._environment

    @property
    def records(self) -> Records:
        """Raises TrainingError outside orch."""
        if self._records is None:
            raise TrainingError(
                "No orch agent started this process: the ORCH_ variables are not set. Use `orch submit`."
            )
        return self._records

    @property
    def resume_from(self) -> Optional[str]:
        """The checkpoint to go on from (an absolute path), or None: start at step 0."""
        return self._environment.resume_from if self._environment else None

    @property
    def resume_step(self) -> int:
        """The step of that checkpoint, or 0."""
        return self._environment.resume_step if self._environment else 0

    @property
    def checkpoint_dir(self) -> str:
        """Where this generation's checkpoints go, each as `checkpoint-STEP`. Raises TrainingError outside orch."""
        return self.environment.checkpoint_dir

    @property
    def save_due(self) -> bool:
        """Whether the ranks agreed, in the latest `step`, that the job's checkpoint interval has passed."""
        return self._due

    def step(
        self,
        step: int,
        steps: Optional[int] = None,
        *,
        loss: Any = None,
        tokens: Optional[float] = None,
        learning_rate: Optional[float] = None,
    ) -> bool:
        """Ends a step on every rank; True when all ranks agreed to save and leave now.

        `step` counts finished optimizer steps from the beginning of the run, `tokens` likewise. `loss` may be a number
        or a tensor of one element; what rank 0 passes is recorded.
        """
        if self._records is None:
            return False
        self._records.progress("training", step, steps)
        if loss is not None:
            self._records.metrics(step, float(loss), tokens, learning_rate, peak_memory(), say=True)
        return self.agree(step)

    def agree(self, step: int) -> bool:
        """The agreement of `step` alone, for callers that write their own records."""
        if self._environment is None:
            return False
        every_steps = self._environment.job.every_steps
        every_seconds = self._environment.job.every_seconds
        self._due = every_steps is not None and step % every_steps == 0
        if step < self._agrees_at:
            return False
        late = every_seconds is not None and time.monotonic() - self._saved_at >= every_seconds
        # Only rank 0's clock counts: the ranks' clocks would disagree at the edge of an interval.
        head = self.rank == 0
        stop, timed, gap = self._control.largest(self._stop_asked, late and head, self._gap(step) if head else 0)
        self._agrees_at = step + gap
        self._due = self._due or bool(timed)
        return bool(stop)

    def saved(self) -> None:
        """A checkpoint was committed by other means than `commit`."""
        self._saved_at = time.monotonic()

    def _gap(self, step: int) -> int:
        """Steps to the next agreement: about a second's, and never so many more at once that a stop would wait long."""
        now, before = time.monotonic(), self._agreed
        self._agreed = step, now
        if not self._seldom or before is None or step <= before[0]:
            return 1
        seconds = (now - before[1]) / (step - before[0])
        return max(1, min(int(AGREE_SECONDS / max(seconds, 1e-6)), 2 * (step - before[0])))

    def commit(self, directory: str, step: int) -> None:
        """Makes what all ranks saved in `directory` a proven checkpoint of `step`, then prunes older ones.

        Every rank calls it after its own part is written. Raises TrainingError when a newer generation has taken over,
        or when a file cannot be read back.
        """
        if self._environment is None or self._records is None:
            return
        self._records.progress("saving", step)
        commit(self._control, self._environment, directory, step)
        self._saved_at = time.monotonic()
        self._records.progress("training", step)

    def stopped(self, step: int) -> None:
        """Tells the agent that the checkpoint of `step` is committed as it asked; ends this process with status 0."""
        if self._records is None:
            return
        self._records.stopped(step)
        self.leave()

    def done(self, step: Optional[int] = None) -> None:
        """Attests that the training came to its end and ends this process with status 0. Outside orch it returns."""
        if self._records is None:
            return
        self.attest(step)
        self.leave()

    def attest(self, step: Optional[int] = None) -> None:
        """The attestation of `done` alone: the run counts as finished when every rank has made it."""
        if self._records is not None:
            self._records.progress("done", step)
            self._records.done(step)

    def leave(self) -> None:
        """Ends the process, on all ranks together, with status 0.

        DeepSpeed's threads abort about one ordinary interpreter exit in five after a run that went well (SIGABRT);
        leaving past the interpreter's clean-up is the cure, once everybody is done and everything is flushed.
        """
        self._control.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    @property
    def rank(self) -> int:
        """This process's rank; 0 where there is no process group."""
        return self._control.rank

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self._control.share(value)

    def _on_signal(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:
            # A data loader's worker has inherited the handler; it must still die of a SIGTERM.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._stop_asked = True


def peak_memory() -> int:
    """The most memory this rank has held, in bytes: of its GPU, or of the process where it trains on the CPU."""
    import resource

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
