"""How often to save, and how much a save writes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.model.plan import ModelFacts, Topology
from orchestrator.model.spec import Checkpoint, Precision

# Failures that stop a job: 6.5 for 1,000 node-days on two clusters (Kokolis et al. 2024, arXiv:2410.21680).
SECONDS_BETWEEN_NODE_FAILURES = 86_400 * 1000 / 6.5
# Measured: 142.6 million parameters at stage 2, 2.85 GB from two ranks of one machine, in 3.5 to 4.3 s. More ranks
# write side by side, up to what one machine gets out to an ordinary shared file system.
RANK_BYTES_PER_SECOND = 350 * 10**6
MACHINE_BYTES_PER_SECOND = 2 * 10**9
SAVE_FIXED_SECONDS = 2.0
# A preemption, a time limit or a person's kill is not among those failures, so no more than this may be lost.
LONGEST_SECONDS = 1800
# A save may cost 5 % of the time at most.
SAVES_APART = 20
SAVES_OF_A_SHORT_RUN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A save after `steps` steps or `seconds` seconds, whichever comes first; None: not by that measure."""

    steps: int | None
    seconds: int | None
    because: str


def make_interval(checkpoint: Checkpoint, topology: Topology, *, steps: int | None, save_bytes: int | None) -> Interval:
    """The interval of `checkpoint.every`; where that is auto, one that loses little to failures and to saves."""
    if checkpoint.every_steps is None and checkpoint.every_seconds is None:
        return _automatic(topology, steps, save_bytes)
    unit = " steps" if checkpoint.every_steps is not None else ""
    return Interval(
        steps=checkpoint.every_steps,
        seconds=checkpoint.every_seconds,
        because=f"A checkpoint every {checkpoint.every}{unit}, as asked.",
    )


def save_seconds(save_bytes: int, topology: Topology) -> float:
    """How long all ranks together take to write so many bytes."""
    machine = min(topology.ranks_per_machine * RANK_BYTES_PER_SECOND, MACHINE_BYTES_PER_SECOND)
    machines = topology.world_size // topology.ranks_per_machine
    return SAVE_FIXED_SECONDS + save_bytes / (machine * machines)


def _automatic(topology: Topology, steps: int | None, save_bytes: int | None) -> Interval:
    seconds, why = _seconds(topology, save_bytes)
    if steps is None:
        return Interval(steps=None, seconds=seconds, because=f"A checkpoint every {_time(seconds)}: {why}.")
    often = math.ceil(steps / SAVES_OF_A_SHORT_RUN)
    because = f"A checkpoint every {_time(seconds)} or {often} steps, for a run of any length: {why}."
    return Interval(steps=often, seconds=seconds, because=because)


def _seconds(topology: Topology, save_bytes: int | None) -> tuple[int, str]:
    if save_bytes is None:
        return LONGEST_SECONDS, "the size of a save is not known"
    cost = save_seconds(save_bytes, topology)
    between = SECONDS_BETWEEN_NODE_FAILURES / topology.nodes
    optimum = math.sqrt(2 * cost * between)
    why = (
        f"a save takes about {cost:.0f} s and a failure comes every {between / 3600:.0f} h, "
        f"for which Young and Daly's optimum is {_time(optimum)}"
    )
    if SAVES_APART * cost > min(optimum, LONGEST_SECONDS):
        return round(SAVES_APART * cost), f"{why}; saves may take 1/{SAVES_APART} of the time"
    if optimum > LONGEST_SECONDS:
        return LONGEST_SECONDS, f"{why}; a preemption may lose {_time(LONGEST_SECONDS)}"
    return round(optimum), why


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.0f} h"


def save_size(facts: ModelFacts, *, stage: int, precision: Precision, gather: bool) -> int:
    """Bytes that all ranks together write in one save: weights as the model sees them, and fp32 Adam state.

    Below stage 3 the weights are written twice (model.safetensors and DeepSpeed's own model states), at stage 3 once
    if gathered, else not at all beside the fp32 shards. Stage 0 in fp32 keeps no second copy in its optimizer.
    """
    width = 4 if precision == "fp32" else 2
    weights = width * (2 if stage < 3 else int(gather))
    state = 8 if stage == 0 and precision == "fp32" else 12
    return facts.parameters * (weights + state)
