"""Which ZeRO stage and offload: the lowest that fits, with a reason for each one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.errors import JobError
from orchestrator.model.plan import Memory
from orchestrator.planner.dscheck import place as field_of
from orchestrator.planner.setting import Where
from orchestrator.planner.settings import Asked

# With no limit to choose by: stage 2 costs no more communication than plain data parallelism (ZeRO, section 7).
# A script of the user's own may be a pipeline, which DeepSpeed refuses above stage 1.
DEFAULT_STAGE = 2
DEFAULT_STAGE_OF_A_SCRIPT = 1

ZERO = field_of(("zero_optimization",))

# What is left for fragmentation on a GPU, and for the system and its page cache on a host.
RANK_RESERVE = 0.06
HOST_RESERVE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stage with the place of its optimizer state and of its parameters."""

    stage: int
    optimizer: Where
    param: Where

    @property
    def offload(self) -> Where:
        places = (self.optimizer, self.param)
        return next((place for place in ("nvme", "cpu") if place in places), "none")

    def __str__(self) -> str:
        if self.offload == "none":
            return f"ZeRO {self.stage}"
        if self.param == "none" and self.stage == 3:
            return f"ZeRO 3 with the optimizer offloaded to {self.optimizer}"
        return f"ZeRO {self.stage} with offload to {self.offload}"


def candidates(asked: Asked, nvme_path: str | None) -> tuple[Candidate, ...]:
    """What may be tried, best first. JobError when what was asked can never work."""
    found = tuple(_all(asked, nvme_path))
    problems = {one: problem for one in found if (problem := _problem(one, asked)) is not None}
    working = tuple(one for one in found if one not in problems)
    # A stage that was asked for is not replaced by one that works.
    if problems and (asked.stage is not None or not working):
        raise next(iter(problems.values()))
    return working


def _all(asked: Asked, nvme_path: str | None) -> Iterator[Candidate]:
    for place in _places(asked, nvme_path):
        for stage in _stages(asked, place):
            param = asked.offload_param or (place if stage == 3 and _with_parameters(asked) else "none")
            yield Candidate(stage=stage, optimizer=place, param=param)


def _with_parameters(asked: Asked) -> bool:
    """`deepspeed.offload` moves the parameters too; a raw offload_optimizer by itself does not."""
    return asked.offload_optimizer is None or asked.offload == asked.offload_optimizer


def _stages(asked: Asked, place: Where) -> tuple[int, ...]:
    """Stage 1 is left out with offload: stage 2 takes no more time there, and less memory."""
    if asked.stage is not None:
        return (asked.stage,)
    return {"none": (0, 1, 2, 3), "cpu": (2, 3), "nvme": (3,)}[place]


def _places(asked: Asked, nvme_path: str | None) -> tuple[Where, ...]:
    if asked.offload_optimizer is not None:
        return (asked.offload_optimizer,)
    if asked.offload != "auto":
        return (asked.offload,)
    if asked.stage == 0:
        return ("none",)
    return ("none", "cpu", "nvme") if nvme_path and asked.stage in (None, 3) else ("none", "cpu")


def _problem(candidate: Candidate, asked: Asked) -> JobError | None:
    """What DeepSpeed accepts and then does not do."""
    if candidate.stage > 0 and asked.untested is not None:
        return JobError(
            f"DeepSpeed refuses {asked.untested} at ZeRO stage {candidate.stage}, where it is not tested",
            hint="Write zero_allow_untested_optimizer: true beside it, or ZeRO stage 0.",
            field=field_of(("optimizer", "type")),
        )
    field = f"{ZERO}.offload_optimizer" if asked.offload_optimizer is not None else "deepspeed.offload"
    if candidate.stage < 3 and candidate.param != "none":
        return JobError(
            f"parameters can be offloaded at ZeRO stage 3 only, and the stage is {candidate.stage}",
            hint="Write deepspeed.zero: 3, or remove offload_param.",
            field=f"{ZERO}.offload_param",
        )
    if candidate.stage == 0 and candidate.optimizer != "none":
        return JobError(
            f"offload to {candidate.optimizer} does nothing at ZeRO stage 0",
            hint="Write deepspeed.zero: 2 or 3, or no offload.",
            field=field,
        )
    if candidate.stage < 3 and candidate.optimizer == "nvme":
        return JobError(
            f"offload to nvme works at ZeRO stage 3 only, and the stage is {candidate.stage}",
            hint="Write deepspeed.zero: 3, or offload to cpu.",
            field=field,
        )
    return None


def rejection(memory: Memory) -> str | None:
    """Why this much memory does not fit, None when it does or no limit is known."""
    if _over(memory.rank_bytes, memory.rank_limit, RANK_RESERVE):
        return f"{gib(memory.rank_bytes)} a rank of {gib(memory.rank_limit or 0)}, {RANK_RESERVE:.0%} of it kept free"
    if _over(memory.host_bytes, memory.host_limit, HOST_RESERVE):
        return f"{gib(memory.host_bytes)} a host of {gib(memory.host_limit or 0)}, {HOST_RESERVE:.0%} of it kept free"
    return None


def _over(size: int, limit: int | None, reserve: float) -> bool:
    return limit is not None and size > limit * (1 - reserve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    candidate: Candidate
    because: tuple[str, ...]


def choose(found: tuple[Candidate, ...], memory: Callable[[Candidate], Memory | None], *, default: int) -> Choice:
    """The first candidate that fits; of those that don't, the nearest; with no limit known, stage `default`."""
    if len(found) == 1:
        return Choice(candidate=found[0], because=(f"{found[0]}, as asked.",))
    sized = [(candidate, size) for candidate in found if (size := memory(candidate)) and size.deciding_limit]
    if not sized:
        candidate = next((one for one in found if one.stage == default), found[0])
        return Choice(candidate=candidate, because=(f"{candidate} by default: memory or model size is not known.",))
    because: list[str] = []
    for candidate, size in sized:
        why = rejection(size)
        if why is None:
            return Choice(candidate=candidate, because=(*because, _fitting(candidate, size)))
        because.append(f"Not {candidate}: it needs {why}.")
    nearest = min(sized, key=lambda pair: _excess(pair[1]))[0]
    return Choice(candidate=nearest, because=(*because, f"{nearest} comes nearest."))


def _fitting(candidate: Candidate, memory: Memory) -> str:
    if memory.rank_limit is None:
        return f"{candidate} is the first that fits: {gib(memory.host_bytes)} a host of {gib(memory.host_limit or 0)}."
    return f"{candidate} is the first that fits: {gib(memory.rank_bytes)} a rank of {gib(memory.rank_limit)}."


def _excess(memory: Memory) -> float:
    pairs = ((memory.rank_bytes, memory.rank_limit), (memory.host_bytes, memory.host_limit))
    return max(size / limit for size, limit in pairs if limit)


def gib(size: int) -> str:
    """Bytes as GiB, for sentences."""
    return f"{size / 2**30:.1f} GiB" if size < 100 * 2**30 else f"{size / 2**30:.0f} GiB"
