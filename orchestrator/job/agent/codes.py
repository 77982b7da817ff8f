"""How an agent ends: its exit status, and the exception that carries it to the end of the program."""

from __future__ import annotations

import errno

from orchestrator.job.protocol import records
from orchestrator.job.protocol.cause import Cause

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # what a full disk answers

SUCCESS = 0  # the success marker exists
SLOT_TAKEN = 81  # another agent of this start holds this slot, or did: nothing was done
STOPPED = 82  # asked to stop
FENCED = 83  # a newer claim counts
FAILED = 84  # another attempt may help
HOPELESS = records.HOPELESS  # another attempt would end the same way, or the failure budget is spent
PREFLIGHT = 86  # this node can't run the job


class Ended(Exception):
    """Ends the agent. `cause` is shown by `orch status`, `because` is a sentence for people.

    `recorded`: an outcome record has it already.
    """

    def __init__(
        self, code: int, cause: Cause, because: str, *, generation: int | None = None, recorded: bool = False
    ) -> None:
        super().__init__(because)
        self.code = code
        self.cause = cause
        self.because = because
        self.generation = generation
        self.recorded = recorded

    @property
    def result(self) -> str:
        """As in an outcome record."""
        return {SUCCESS: "success", STOPPED: "stopped", FENCED: "fenced", SLOT_TAKEN: "fenced"}.get(self.code, "failed")

    @property
    def retry(self) -> bool:
        """Whether another attempt may help."""
        return self.code in (FAILED, STOPPED)
