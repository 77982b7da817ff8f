"""Every state of a Slurm job, as squeue and sacct print it, and what it means for an attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from orchestrator.model.run import Cause


class JobStage(Enum):
    """WAITING: without processes, before a start or between two. ENDING: Slurm cleans up before an end or a requeue."""

    WAITING = "waiting"
    LIVE = "live"
    SUSPENDED = "suspended"
    ENDING = "ending"
    OVER = "over"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`cause` and `message` describe an end that the job itself has not recorded."""

    stage: JobStage
    cause: Cause = Cause.NONE
    message: str = ""


_UNKNOWN = State(stage=JobStage.UNKNOWN)


def _over(cause: Cause, message: str) -> State:
    return State(stage=JobStage.OVER, cause=cause, message=message)


_PENDING = ("PENDING", "CONFIGURING", "POWER_UP_NODE", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD")
STATES: Mapping[str, State] = {
    **dict.fromkeys((*_PENDING, "SPECIAL_EXIT"), State(stage=JobStage.WAITING)),
    **dict.fromkeys(("RUNNING", "RESIZING", "SIGNALING"), State(stage=JobStage.LIVE)),
    **dict.fromkeys(("SUSPENDED", "STOPPED"), State(stage=JobStage.SUSPENDED)),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT"), State(stage=JobStage.ENDING)),
    "COMPLETED": _over(Cause.AGENT_LOST, "the job ended with status 0, and none of its agents recorded how"),
    "FAILED": _over(Cause.AGENT_LOST, "the job failed, and none of its agents recorded how"),
    "TIMEOUT": _over(Cause.TIME_LIMIT, "the job reached its time limit before it could end by itself"),
    "CANCELLED": _over(Cause.CANCELLED, "the job was cancelled outside orch"),
    "NODE_FAIL": _over(Cause.NODE_LOST, "a node of the job was lost"),
    "BOOT_FAIL": _over(Cause.NODE_LOST, "a node of the job did not boot"),
    "PREEMPTED": _over(Cause.PREEMPTED, "the job was preempted"),
    "OUT_OF_MEMORY": _over(Cause.HOST_OOM, "the job used more memory than it asked Slurm for"),
    "DEADLINE": _over(Cause.UNKNOWN, "the job could not end before its --deadline"),
    "REVOKED": _UNKNOWN,  # another cluster of a federation has it
}


# In sacct, of a job that nobody cancelled: slurmctld came back without its records. Otherwise sacct adds the user.
FORGOTTEN_STATE = "CANCELLED"
FORGOTTEN = _over(Cause.AGENT_LOST, "Slurm has forgotten the job, nobody cancelled it")


def state_of(printed: str) -> State:
    """The meaning of a printed state; sacct adds who cancelled, and a + where it cut it. An unknown one is UNKNOWN."""
    return STATES.get(printed.partition(" ")[0].rstrip("+"), _UNKNOWN)
