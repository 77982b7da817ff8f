"""Every state of a Slurm job, in the words of squeue and sacct, and what it means for an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from orchestrator.model.run import Cause


class Standing(Enum):
    """WAITING: it has no processes yet, or none again. ENDING: over or about to wait again; Slurm tidies up."""

    WAITING = "waiting"
    LIVE = "live"
    SUSPENDED = "suspended"
    ENDING = "ending"
    OVER = "over"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`cause` and `words` tell of an end that the job's own records say nothing about."""

    standing: Standing
    cause: Cause = Cause.NONE
    words: str = ""


_WAITING = State(standing=Standing.WAITING)
_LIVE = State(standing=Standing.LIVE)
_ENDING = State(standing=Standing.ENDING)
_SUSPENDED = State(standing=Standing.SUSPENDED)
_UNKNOWN = State(standing=Standing.UNKNOWN)


def _over(cause: Cause, words: str) -> State:
    return State(standing=Standing.OVER, cause=cause, words=words)


STATES: Mapping[str, State] = {
    "PENDING": _WAITING,
    "CONFIGURING": _WAITING,
    "POWER_UP_NODE": _WAITING,
    "REQUEUED": _WAITING,
    "REQUEUE_FED": _WAITING,
    "REQUEUE_HOLD": _WAITING,
    "RESV_DEL_HOLD": _WAITING,
    "SPECIAL_EXIT": _WAITING,
    "RUNNING": _LIVE,
    "RESIZING": _LIVE,
    "SIGNALING": _LIVE,
    "SUSPENDED": _SUSPENDED,
    "STOPPED": _SUSPENDED,
    "COMPLETING": _ENDING,
    "STAGE_OUT": _ENDING,
    "COMPLETED": _over(Cause.AGENT_LOST, "the job ended with status 0, and none of its agents said how"),
    "FAILED": _over(Cause.AGENT_LOST, "the job failed, and none of its agents said how"),
    "TIMEOUT": _over(Cause.TIME_LIMIT, "the job reached its time limit before it could end by itself"),
    "CANCELLED": _over(Cause.CANCELLED, "the job was cancelled past orch"),
    "NODE_FAIL": _over(Cause.NODE_LOST, "a node of the job was lost"),
    "BOOT_FAIL": _over(Cause.NODE_LOST, "a node of the job did not boot"),
    "PREEMPTED": _over(Cause.PREEMPTED, "the job was preempted"),
    "OUT_OF_MEMORY": _over(Cause.HOST_OOM, "the job used more memory than it asked Slurm for"),
    "DEADLINE": _over(Cause.UNKNOWN, "the job could not end before its --deadline"),
    "REVOKED": _UNKNOWN,  # another cluster of a federation has it
}


# What sacct says of a job that nobody cancelled: slurmctld came back without its records. Else it adds who it was.
FORGOTTEN_WORD = "CANCELLED"
FORGOTTEN = _over(Cause.AGENT_LOST, "Slurm has forgotten the job, nobody cancelled it")


def state_of(word: str) -> State:
    """What a state means; sacct adds who cancelled, and a + where it cut the word. An unknown word is UNKNOWN."""
    words = word.split()
    return STATES.get(words[0].rstrip("+"), _UNKNOWN) if words else _UNKNOWN
