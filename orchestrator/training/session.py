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

import datetime
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from orchestrator.training.environment import Environment, TrainingError, read_environment
from orchestrator.training.records import Records
from orchestrator.training.shares import deal, list_files

# A peer that dies closes its connection, which ends a wait at once. The limit is only for a peer that hangs, and hanging is
# for the agent to judge; a save of hundreds of gigabytes must fit.
CONTROL_TIMEOUT = datetime.timedelta(days=1)
STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class Session:
    """One rank's session. Make it with `Session.start()`, once, in the main thread, on every rank."""

    def __init__(self, environment: Optional[Environment]) -> None:
        self._environment = environment
        self._records = Records(environment) if environment else None
        self._group: Any = None
        self._stop_asked = False
        self._saved_at = time.monotonic()
        self._due = False
        self._pid = os.getpid()

    @classmethod
    def start(cls) -> Session:
        """Registers this rank with its agent and begins to listen for a request to stop."""
        session = cls(read_environment())
        if session._records is not None:
            for number in STOP_SIGNALS:
                signal.signal(number, session._on_signal)
            session._records.register()
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
            raise TrainingError("No orch agent started this process: the ORCH_ variables are not set. Use `orch submit`.")
        return self._environment

    @property
    def records(self) -> Records:
        """Raises TrainingError outside orch."""
        if self._records is None:
            raise TrainingError("No orch agent started this process: the ORCH_ variables are not set. Use `orch submit`.")
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
        every_steps = self._environment.job.get("every_steps")
        every_seconds = self._environment.job.get("every_seconds")
        late = every_seconds is not None and time.monotonic() - self._saved_at >= every_seconds
        # Only rank 0's clock counts: the ranks' clocks would disagree at the edge of an interval.
        stop, timed = self._any(self._stop_asked, late and self._environment.rank == 0)
        self._due = timed or (every_steps is not None and step % every_steps == 0)
        return stop

    def commit(self, directory: str, step: int) -> None:
        """Makes what all ranks saved in `directory` a proven checkpoint of `step`, then prunes older ones.

        Every rank calls it after its own part is written. Raises TrainingError when a newer generation has taken over,
        or when a file cannot be read back.
        """
        if self._environment is None:
            return
        self._records_of("saving", step)
        self._check_fence()
        files, problem = self._prove(directory)
        if self.rank == 0 and not problem:
            problem = self._publish(directory, step, files)
        problem = self._broadcast(problem)
        if problem:
            raise TrainingError(problem)
        self._saved_at = time.monotonic()
        self._records_of("training", step)

    def stopped(self, step: int) -> None:
        """Tells the agent that the checkpoint of `step` is committed as it asked, and ends this process with status 0."""
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
        self.barrier()
        dist = _distributed()
        if dist is not None:
            dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    @property
    def rank(self) -> int:
        """This process's rank; 0 where there is no process group."""
        dist = _distributed()
        return int(dist.get_rank()) if dist is not None else 0

    def barrier(self) -> None:
        """Waits for all ranks."""
        self._any(False, False)

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self._broadcast(value)

    def _on_signal(self, number: int, frame: Any) -> None:
        if os.getpid() != self._pid:
            # A data loader's worker has inherited the handler; it must still die of a SIGTERM.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._stop_asked = True

    def _records_of(self, state: str, step: int) -> None:
        if self._records is not None:
            self._records.progress(state, step)

    def _control(self, dist: Any) -> Any:
        """The process group of these messages: gloo, so that they neither wait for nor use the GPUs' queues."""
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
        return self._group

    def _any(self, *flags: bool) -> tuple[bool, ...]:
        dist = _distributed()
        if dist is None:
            return flags
        import torch

        tensor = torch.tensor([int(flag) for flag in flags], dtype=torch.int32, device="cpu")
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._control(dist))
        return tuple(bool(flag) for flag in tensor.tolist())

    def _broadcast(self, value: Any) -> Any:
        dist = _distributed()
        if dist is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._control(dist))
        return box[0]

    def _gather(self, value: Any) -> Sequence[Any]:
        """Every rank's value on rank 0, elsewhere nothing."""
        dist = _distributed()
        if dist is None:
            return [value]
        values: Optional[list[Any]] = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(value, values, dst=0, group=self._control(dist))
        return values or []

    def _check_fence(self) -> None:
        from orchestrator.checkpoints import generations

        environment = self.environment
        newest = None
        if self.rank == 0:
            claim = generations.newest_claim(environment.root)
            newest = claim.generation if claim is not None else None
        newest = self._broadcast(newest)
        if newest is not None and newest > environment.generation:
            raise TrainingError(
                f"Generation {newest} of run {environment.run} has taken over from generation "
                f"{environment.generation}, which this process belongs to. Nothing that it saves from now on counts."
            )

    def _prove(self, directory: str) -> tuple[dict[str, Any], Optional[str]]:
        """Hashes and fsyncs every file, each on the rank that wrote it; rank 0 gets all entries, and what went wrong."""
        from orchestrator.checkpoints import manifest

        self.barrier()
        dist = _distributed()
        world = dist.get_world_size() if dist is not None else 1
        names = self._broadcast(list_files(directory) if self.rank == 0 else None)
        mine: Any
        try:
            mine = manifest.hash_files(directory, deal(names, world)[self.rank])
        except OSError as error:
            mine = f"Rank {self.rank} cannot read back what was saved in {directory}: {error}"
        merged: dict[str, Any] = {}
        for part in self._gather(mine):
            if isinstance(part, str):
                return {}, part
            merged.update(part)
        return merged, None

    def _publish(self, directory: str, step: int, files: Mapping[str, Any]) -> Optional[str]:
        """On rank 0: the manifest, then pruning. Returns what went wrong."""
        from orchestrator.checkpoints import manifest, retention

        environment = self.environment
        try:
            manifest.write_commit(
                directory,
                step=step,
                generation=environment.generation,
                attempt=environment.attempt,
                run_id=environment.run_id,
                world_size=environment.world_size,
                files=files,
            )
            retention.prune(environment.root, environment.generation, int(environment.job.get("keep") or 1))
        except OSError as error:
            return f"The checkpoint of step {step} in {directory} cannot be committed: {error}"
        return None


def peak_memory() -> Optional[int]:
    """The most memory this rank has held, in bytes: of its GPU, or of the process where it trains on the CPU."""
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _distributed() -> Any:
    """torch.distributed where a process group exists, else None; never imports torch by itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed
