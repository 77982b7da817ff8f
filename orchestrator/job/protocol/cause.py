"""Why a phase was entered: one row for each cause, with what follows from it. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Optional


class Row(NamedTuple):  # no dataclass: `orch status` reads these rows, and would start slower
    """What follows from a cause.

    `blames_node`: the machine may be at fault. `counts`: an attempt that ends so is a failure. `needs_user`: another
    attempt waits for the user. `lasts`: the same job ends the same way again. `shown`: the cause says more than the
    phase does.
    """

    blames_node: bool = False
    counts: bool = True
    needs_user: bool = False
    lasts: bool = False
    shown: bool = True


_USUAL = Row()


class Cause(str, Enum):
    """The values are those of the signature table and of `orch status`. A value of a newer version is UNKNOWN.

    Not blamed on a machine: a hang (the node that noticed it is named), the network or a port (the node that spoke
    first is named), a rank that was killed, and nothing that another node would do as well.
    """

    _value_: str
    row: Row

    NONE = "none", Row(shown=False)
    COMPLETED = "completed", Row(shown=False)
    CANCELLED = "cancelled", Row(shown=False)
    ASKED_TO_STOP = "asked_to_stop", Row(counts=False)
    PREEMPTED = "preempted", Row(counts=False)
    TIME_LIMIT = "time_limit", Row(counts=False)
    NODE_LOST = "node_lost", Row(blames_node=True)
    AGENT_LOST = "agent_lost", Row(blames_node=True)
    LAUNCHER_LOST = "launcher_lost"
    RANK_KILLED = "rank_killed"
    HUNG = "hung"
    FENCED = "fenced", Row(needs_user=True)
    USER_ERROR = "user_error"
    CUDA_OOM = "cuda_oom"
    HOST_OOM = "host_oom"
    SHARED_MEMORY = "shared_memory"
    GPU_FAULT = "gpu_fault", Row(blames_node=True)
    NETWORK = "network"
    PORT = "port"
    RENDEZVOUS = "rendezvous"
    DISK_FULL = "disk_full"
    CHECKPOINT_DAMAGED = "checkpoint_damaged"
    NO_PROVEN_CHECKPOINT = "no_proven_checkpoint", Row(needs_user=True)
    NOT_RESUMED = "not_resumed", Row(needs_user=True)  # the script did not read the checkpoint that it was shown
    WORLD_SIZE = "world_size"
    SHAPE = "shape"
    LOSS_SCALE = "loss_scale"
    CONFIGURATION = "configuration", Row(lasts=True)
    DATA = "data", Row(lasts=True)  # the training data: not there, too little, or not of the form that was said
    MODEL = "model", Row(lasts=True)  # the model or its tokenizer: not there, or not for this data
    OPERATOR_BUILD = "operator_build"
    PREFLIGHT = "preflight", Row(blames_node=True)
    SECRET_MISSING = "secret_missing", Row(needs_user=True)
    OWNED = "owned", Row(needs_user=True)  # the checkpoint directory belongs to another run
    REFUSED = "refused"  # the cluster refused the submission
    STUCK = "stuck"  # the cluster accepted it and could never start it
    UNKNOWN = "unknown", Row(shown=False)

    def __new__(cls, name: str, row: Row = _USUAL) -> Cause:  # noqa: PYI034 - typing.Self is of Python 3.11
        made = str.__new__(cls, name)
        made._value_, made.row = name, row
        return made

    __str__ = str.__str__  # as a StrEnum, which Python 3.9 does not have

    @classmethod
    def _missing_(cls, value: object) -> Optional[Cause]:
        return cls.UNKNOWN if isinstance(value, str) else None
