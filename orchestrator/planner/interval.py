"""How often to save, and how much a save writes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.model.plan import ModelFacts
from orchestrator.model.spec import Checkpoint, Precision

# Failures that stop a job: 6.5 for 1,000 node-days (Kokolis et al. 2024, arXiv:2410.21680, 11 months of two clusters).
SECONDS_BETWEEN_NODE_FAILURES = 86_400 * 1000 / 6.5
# Measured: 142.6 million parameters at stage 2, 2.85 GB in 3.5 to 4.3 s on one machine.
SAVE_BYTES_PER_SECOND = 700 * 10**6
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


def make_interval(checkpoint: Checkpoint, *, steps: int | None, nodes: int, save_bytes: int | None) -> Interval:
    """The interval of `checkpoint.every`; where that is auto, one that loses little to failures and to saves."""
    if checkpoint.every_steps is None and checkpoint.every_seconds is None:
        return _automatic(steps, nodes, save_bytes)
    unit = " steps" if checkpoint.every_steps is not None else ""
    return Interval(
        steps=checkpoint.every_steps,
        seconds=checkpoint.every_seconds,
        because=f"A checkpoint every {checkpoint.every}{unit}, as asked.",
    )


def save_seconds(save_bytes: int) -> float:
    """How long a save of so many bytes takes on an ordinary shared disk."""
    return SAVE_FIXED_SECONDS + save_bytes / SAVE_BYTES_PER_SECOND


def _automatic(steps: int | None, nodes: int, save_bytes: int | None) -> Interval:
    often = None if steps is None else max(1, math.ceil(steps / SAVES_OF_A_SHORT_RUN))
    thirds = "" if often is None else f", and every {often} steps, so that a short run saves too"
    if save_bytes is None:
        because = f"A checkpoint every {LONGEST_SECONDS // 60} min{thirds}: the size of a save is not known."
        return Interval(steps=often, seconds=LONGEST_SECONDS, because=because)
    cost = save_seconds(save_bytes)
    between = SECONDS_BETWEEN_NODE_FAILURES / nodes
    daly = math.sqrt(2 * cost * between)
    seconds = round(max(SAVES_APART * cost, min(daly, LONGEST_SECONDS)))
    because = (
        f"A checkpoint every {seconds} s{thirds}: a save takes about {cost:.0f} s, a failure of one of {nodes} nodes "
        f"comes every {between / 3600:.0f} h, for which Young and Daly's optimum is {daly:.0f} s; "
        f"at most {LONGEST_SECONDS // 60} min are risked, at most 1/{SAVES_APART} of the time goes into saves."
    )
    return Interval(steps=often, seconds=seconds, because=because)


def save_size(facts: ModelFacts, *, stage: int, precision: Precision, gather: bool) -> int:
    """Bytes that all ranks together write in one save: weights as the model sees them, and fp32 Adam state.

    Below stage 3 the weights are written twice (model.safetensors and DeepSpeed's own model states), at stage 3 once
    if gathered, else not at all beside the fp32 shards. Stage 0 in fp32 keeps no second copy in its optimizer.
    """
    width = 4 if precision == "fp32" else 2
    weights = width * (2 if stage < 3 else int(gather))
    state = 8 if stage == 0 and precision == "fp32" else 12
    return facts.parameters * (weights + state)
