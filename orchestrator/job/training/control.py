"""Short messages between the ranks, beside the training's own traffic."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Sequence
from typing import Any, Optional

from orchestrator.job.training.environment import TrainingError

# A peer that dies closes its connection, which ends a wait at once. The limit is only for a peer that hangs, which is
# for the agent to judge; the hashing and the saving of hundreds of gigabytes must fit.
TIMEOUT = dt.timedelta(days=1)


class Control:
    """The ranks' agreements. Every rank makes the same calls in the same order; a single rank needs no process group.

    Where the launcher started more, an agreement without a process group raises TrainingError: each rank would take
    itself for all, and write over what the others have written.

    Its process group is gloo's also where training uses NCCL: a message neither waits for nor occupies a GPU's queue.
    """

    def __init__(self) -> None:
        self._group: Any = None

    @property
    def rank(self) -> int:
        """This process's rank: that of the process group, before there is one the launcher's."""
        dist = _distributed()
        return int(dist.get_rank()) if dist is not None else int(os.environ.get("RANK", "0"))

    @property
    def world_size(self) -> int:
        """How many ranks there are, likewise."""
        dist = _distributed()
        return int(dist.get_world_size()) if dist is not None else int(os.environ.get("WORLD_SIZE", "1"))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag: whether it is set on any rank."""
        return tuple(bool(flag) for flag in self.largest(*map(int, flags)))

    def largest(self, *values: int) -> tuple[int, ...]:
        """Each value: the largest of all ranks'."""
        dist = self._together()
        if dist is None:
            return values
        import torch

        tensor = torch.tensor(values, dtype=torch.int32, device="cpu")
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._made(dist))
        return tuple(tensor.tolist())

    def barrier(self) -> None:
        """Waits for all ranks."""
        self.any(False)

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        dist = self._together()
        if dist is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._made(dist))
        return box[0]

    def gather(self, value: Any) -> Sequence[Any]:
        """Every rank's value on rank 0; on the others nothing."""
        dist = self._together()
        if dist is None:
            return [value]
        values: Optional[list[Any]] = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(value, values, dst=0, group=self._made(dist))
        return values or []

    def close(self) -> None:
        """Waits for all ranks and ends all process groups; nothing where a script has done so itself."""
        dist = _distributed()
        if dist is not None:
            self.barrier()
            dist.destroy_process_group()

    def _together(self) -> Any:
        """torch.distributed; None for a rank that is the only one. Raises TrainingError."""
        dist = _distributed()
        if dist is None and self.world_size > 1:
            raise TrainingError(
                f"Rank {self.rank} of {self.world_size} has no process group, so the ranks cannot agree. Call "
                "deepspeed.init_distributed() or torch.distributed.init_process_group() before the first step."
            )
        return dist

    def _made(self, dist: Any) -> Any:
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return self._group


class Alone(Control):
    """The same for one rank that acts without the others."""

    @property
    def rank(self) -> int:
        return 0

    @property
    def world_size(self) -> int:
        return 1

    def _together(self) -> Any:
        return None


def _distributed() -> Any:
    """torch.distributed where a process group exists, else None; never imports torch by itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed
