"""Which ZeRO stage and offload: the lowest that fits, with a reason for each one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.errors import JobError
from orchestrator.model.plan import Memory
from orchestrator.planner.asked import FIELD, Asked
from orchestrator.planner.memory import Where

# With no limit to choose by: stage 2 costs no more communication than plain data parallelism (ZeRO, section 7).
DEFAULT_STAGE = 2

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
    found = tuple(_candidates(asked, nvme_path))
    for candidate in found:
        if asked.stage is not None or len(found) == 1:
            check_candidate(candidate)
    return found


def _candidates(asked: Asked, nvme_path: str | None) -> Iterator[Candidate]:
    for place in _places(asked, nvme_path):
        for stage in (0, 1, 2, 3) if asked.stage is None else (asked.stage,):
            param = asked.offload_param or (place if stage == 3 else "none")
            candidate = Candidate(stage=stage, optimizer=place, param=param)
            if asked.stage is not None or _works(candidate):
                yield candidate


def _places(asked: Asked, nvme_path: str | None) -> tuple[Where, ...]:
    if asked.offload_optimizer is not None:
        return (asked.offload_optimizer,)
    if asked.offload != "auto":
        return (asked.offload,)
    if asked.stage == 0:
        return ("none",)
    return ("none", "cpu", "nvme") if nvme_path and asked.stage in (None, 3) else ("none", "cpu")


def _works(candidate: Candidate) -> bool:
    try:
        check_candidate(candidate)
    except JobError:
        return False
    return True


def check_candidate(candidate: Candidate) -> None:
    """JobError for what DeepSpeed accepts and does not do."""
    if candidate.stage == 0 and candidate.optimizer != "none":
        raise JobError(
            f"offload to {candidate.optimizer} does nothing at ZeRO stage 0",
            hint="Use deepspeed.zero: 2 or 3, or deepspeed.offload: none.",
            field="deepspeed.offload",
        )
    if candidate.stage < 3 and candidate.param != "none":
        raise JobError(
            f"parameters can be offloaded at ZeRO stage 3 only, and the stage is {candidate.stage}",
            hint="Write deepspeed.zero: 3, or remove offload_param.",
            field=f"{FIELD}.zero_optimization.offload_param",
        )
    if candidate.stage < 3 and candidate.optimizer == "nvme":
        raise JobError(
            f"offload to nvme works at ZeRO stage 3 only, and the stage is {candidate.stage}",
            hint="Write deepspeed.zero: 3, or deepspeed.offload: cpu.",
            field="deepspeed.offload",
        )


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


def choose(found: tuple[Candidate, ...], memory: Callable[[Candidate], Memory | None]) -> Choice:
    """The first candidate that fits; the one that comes nearest when none does."""
    if len(found) == 1:
        return Choice(candidate=found[0], because=(f"{found[0]}, as asked.",))
    sized = [(candidate, memory(candidate)) for candidate in found]
    known = [(candidate, size) for candidate, size in sized if size is not None and _limited(size)]
    if not known:
        candidate = next((one for one in found if one.stage == DEFAULT_STAGE), found[0])
        return Choice(candidate=candidate, because=(f"{candidate} as a default: memory or model size is not known.",))
    because = []
    for candidate, size in known:
        why = rejection(size)
        if why is None:
            return Choice(candidate=candidate, because=(*because, _fitting(candidate, size)))
        because.append(f"Not {candidate}: it needs {why}.")
    nearest = min(known, key=lambda pair: _excess(pair[1]))[0]
    return Choice(candidate=nearest, because=(*because, f"{nearest} comes nearest."))


def _limited(memory: Memory) -> bool:
    return memory.rank_limit is not None or memory.host_limit is not None


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
