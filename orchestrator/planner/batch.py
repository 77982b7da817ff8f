"""Batch arithmetic: global_batch = micro_batch x accumulation x data-parallel ranks."""

from __future__ import annotations

from orchestrator.errors import JobError
from orchestrator.model.plan import Topology
from orchestrator.planner.dscheck import FIELD
from orchestrator.planner.settings import Asked

# Where memory is not known, a micro-batch of about this many tokens keeps a GPU busy and seldom fills it.
TOKENS_PER_MICRO_BATCH = 8192


def data_parallel(topology: Topology, asked: Asked) -> int:
    """Ranks that see different sequences. JobError when the ranks don't divide."""
    world = topology.world_size
    if world % asked.model_parallel:
        raise JobError(
            f"{world} ranks cannot be divided into groups of {asked.model_parallel}",
            hint=f"Ask for a multiple of {asked.model_parallel} ranks.",
            field=asked.sharing_field,
        )
    return world // asked.model_parallel


def micro_batches(asked: Asked, global_batch: int, ranks: int) -> tuple[int, ...]:
    """The micro-batches that work, smallest first; only one when the job fixes it. JobError when none does."""
    if global_batch % ranks:
        raise _indivisible(global_batch, ranks, f"{ranks} data-parallel ranks")
    each = global_batch // ranks
    if asked.accumulation is not None:
        return (_fixed_accumulation(asked, global_batch, ranks, each),)
    if asked.micro_batch is None:
        return _divisors(each)
    if each % asked.micro_batch:
        raise JobError(
            f"{asked.micro_batch} does not divide the {each} sequences that each of {ranks} ranks takes of a "
            f"global batch of {global_batch}",
            hint=f"Nearest that work: {_list(_around(_divisors(each), asked.micro_batch))}.",
            field="training.micro_batch",
        )
    return (asked.micro_batch,)


def script_batch_problem(asked: Asked, ranks: int) -> JobError | None:
    """What DeepSpeed would refuse of a script's own batch sizes, for so many data-parallel ranks."""
    total, micro, accumulation = asked.global_batch, asked.micro_batch, asked.accumulation
    unit = (micro or 1) * (accumulation or 1) * ranks
    if total is None or (total == unit if micro and accumulation else total % unit == 0):
        return None
    factors = [
        *([f"micro-batch {micro}"] if micro else []),
        *([f"accumulation {accumulation}"] if accumulation else []),
    ]
    over = " x ".join([*factors, f"{ranks} data-parallel ranks"])
    whole = len(factors) == 2
    works = f"{unit} would be" if whole else f"Nearest that work: {_list(_multiples(total, unit))}"
    return JobError(
        f"{total} is not {over}, which is {unit}" if whole else f"{total} cannot be divided over {over}",
        hint=f"{works}. Ranks that share a model count once: say how many do with pipeline: {{stages: N}}.",
        field=f"{FIELD}.train_batch_size",
    )


def without_limit(candidates: tuple[int, ...], sequence_length: int) -> int:
    """The largest micro-batch of at most TOKENS_PER_MICRO_BATCH tokens, or the smallest there is."""
    small = [micro for micro in candidates if micro * sequence_length <= TOKENS_PER_MICRO_BATCH]
    return max(small, default=candidates[0])


def _fixed_accumulation(asked: Asked, global_batch: int, ranks: int, each: int) -> int:
    accumulation = asked.accumulation or 1
    if each % accumulation:
        raise _indivisible(global_batch, ranks * accumulation, f"{ranks} ranks x {accumulation} accumulation steps")
    micro = each // accumulation
    if asked.micro_batch not in (None, micro):
        raise JobError(
            f"{accumulation} contradicts a micro-batch of {asked.micro_batch}: {asked.micro_batch} x {accumulation} x "
            f"{ranks} ranks is {asked.micro_batch * accumulation * ranks}, and the global batch is {global_batch}",
            hint=f"Remove the raw key, or use a micro-batch of {micro}.",
            field=f"{FIELD}.gradient_accumulation_steps",
        )
    return micro


def _indivisible(global_batch: int, unit: int, what: str) -> JobError:
    return JobError(
        f"{global_batch} sequences cannot be divided over {what}",
        hint=f"Nearest that work: {_list(_multiples(global_batch, unit))}.",
        field="training.global_batch",
    )


def _multiples(number: int, unit: int) -> list[int]:
    """The multiples of `unit` next to a number, without 0."""
    return [size for size in (number // unit * unit, (number // unit + 1) * unit) if size]


def _divisors(number: int) -> tuple[int, ...]:
    small = [factor for factor in range(1, int(number**0.5) + 1) if number % factor == 0]
    return tuple(sorted({*small, *(number // factor for factor in small)}))


def _around(values: tuple[int, ...], wanted: int) -> list[int]:
    below = [value for value in values if value < wanted][-1:]
    return below + [value for value in values if value > wanted][:1]


def _list(values: list[int]) -> str:
    return " and ".join(str(value) for value in values)
