"""What one node of a job needs: seconds to stop, CPUs, memory, space. Bytes and seconds are ints."""

from __future__ import annotations

from orchestrator.model.plan import Plan
from orchestrator.model.spec import Spec

# DeepSpeed's shared-memory collectives on a CPU and NCCL's rings on GPUs both use /dev/shm between ranks of one node.
SHM_PER_RANK = 64 * 2**20

# A save on a shared file system writes at least this fast; an agreed stop waits for the step it is in.
SAVE_BYTES_PER_SECOND = 100 * 10**6
STOP_SECONDS = 120
UNKNOWN_SAVE_SECONDS = 300

# A rank, and a thread of it that loads or offloads: with the default of one CPU a task all ranks would share one.
CPUS_PER_RANK = 2
# On top of the ranks: a launcher that has loaded torch (0.55 GB at its peak, measured), compilers of DeepSpeed's
# operators (1 GB each, two at a time), the agent, shared memory, and the pages of libraries and files, which a
# scheduler's limit counts too. Too little is an end by the kernel, too much only idles.
HOST_MEMORY_MARGIN = 1.25
NODE_MEMORY = 4 * 2**30

_MIB = 2**20


def save_seconds(plan: Plan) -> int:
    """How long a node may need from "please stop" to the end of its save."""
    if plan.checkpoint_bytes is None:
        return UNKNOWN_SAVE_SECONDS
    return STOP_SECONDS + plan.checkpoint_bytes // SAVE_BYTES_PER_SECOND


def shm_bytes(plan: Plan) -> int:
    """Shared memory that the ranks of one node need to communicate; none for a single rank."""
    ranks = plan.topology.ranks_per_node
    return ranks * SHM_PER_RANK if ranks > 1 else 0


def disk_bytes(spec: Spec, plan: Plan) -> int | None:
    """Space of the checkpoints; None when their size is not known."""
    if plan.checkpoint_bytes is None:
        return None
    return plan.checkpoint_bytes * (spec.checkpoint.keep + 1)  # pruning follows a commit: one more exists meanwhile


def cpus(plan: Plan) -> int:
    """CPUs of one node's ranks."""
    return plan.topology.ranks_per_node * CPUS_PER_RANK


def memory_mib(plan: Plan) -> int | None:
    """Host memory to ask for on one node in MiB, with a margin; None when no plan knows it."""
    if plan.memory is None or not plan.memory.host_bytes:
        return None
    return int(plan.memory.host_bytes * HOST_MEMORY_MARGIN + NODE_MEMORY) // _MIB + 1
