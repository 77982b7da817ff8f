"""Generations: every start of a job's processes, the claim that makes it, and the paths of what it writes."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Mapping, Union

from orchestrator.job.system.atomic import create_json, read_json

FORMAT = 1
MANUAL_COMMITS = "manual-commits"  # in a generation's directory: only a commit manifest proves a checkpoint here
_CLAIM_NAME = re.compile(r"(\d{6,})\.json")

Root = Union[str, Path]


@dataclass(frozen=True)
class Sealed:
    """A checkpoint of an older generation that counts. `path` is relative to the root, `digest` what was proven."""

    path: str
    step: int
    digest: str


@dataclass(frozen=True)
class Resume:
    """Where a generation goes on from; `path` is relative to the root."""

    path: str
    step: int


@dataclass(frozen=True)
class Rejected:
    """A checkpoint that a claim did not seal, and why not."""

    path: str
    why: str


@dataclass(frozen=True)
class Claim:
    """The record that makes a generation. `sealed` is newest first; `time` is seconds since the epoch.

    `progress`: a checkpoint has counted before, or there were some from before orch, so that starting at step 0 would
    throw work away. `failures`: generations in a row that ended without a new proven checkpoint before this one;
    `stops`: likewise, those that were asked to stop, which are no failures. `asked`: the user's word that this claim
    obeyed, as in "from-step 20".
    """

    generation: int
    run: str
    run_id: str
    attempt: int
    start: str
    nodes: int
    address: str
    port: int
    time: float
    resume: Resume | None = None
    sealed: tuple[Sealed, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    progress: bool = False
    failures: int = 0
    stops: int = 0
    asked: str | None = None
    format: int = field(default=FORMAT)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Claim | None:
        """The claim that `data` holds; None when it is not one."""
        known = {item.name for item in fields(cls)}
        plain = {key: value for key, value in data.items() if key in known}
        try:
            plain["resume"] = Resume(**data["resume"]) if data["resume"] else None
            plain["sealed"] = tuple(Sealed(**entry) for entry in data["sealed"])
            plain["rejected"] = tuple(Rejected(**entry) for entry in data["rejected"])
            return cls(**plain)
        except (KeyError, TypeError):
            return None


def generations_dir(root: Root) -> Path:
    return Path(root) / "generations"


def claim_path(root: Root, generation: int) -> Path:
    return generations_dir(root) / f"{generation:06d}.json"


def generation_dir(root: Root, generation: int) -> Path:
    """The generation's own directory: it writes nowhere else."""
    return generations_dir(root) / f"{generation:06d}"


def checkpoints_dir(root: Root, generation: int) -> Path:
    return generation_dir(root, generation) / "checkpoints"


def numbers(root: Root) -> list[int]:
    """The numbers that are taken, in order, also by a claim whose file is not whole."""
    try:
        names = os.listdir(generations_dir(root))  # asked for often: for a Path each, iterdir takes as long again
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(match.group(1)) for match in map(_CLAIM_NAME.fullmatch, names) if match)


def newest_number(root: Root) -> int:
    """The newest number that is taken; 0 when none is."""
    return max(numbers(root), default=0)


def read_claim(root: Root, generation: int) -> Claim | None:
    """None when there is no such claim, or its file is not whole."""
    data = read_json(claim_path(root, generation))
    claim = Claim.parse(data) if data is not None else None
    return claim if claim is not None and claim.generation == generation else None


def claims(root: Root) -> list[Claim]:
    """All claims whose files are whole, oldest first."""
    found = (read_claim(root, number) for number in numbers(root))
    return [claim for claim in found if claim is not None]


def newest_claim(root: Root) -> Claim | None:
    """The newest claim whose file is whole: it says what counts."""
    for number in reversed(numbers(root)):
        claim = read_claim(root, number)
        if claim is not None:
            return claim
    return None


def write_claim(root: Root, claim: Claim) -> bool:
    """Takes the claim's number for it; False when somebody was faster. Raises OSError."""
    generations_dir(root).mkdir(parents=True, exist_ok=True)
    return create_json(claim_path(root, claim.generation), asdict(claim))


def read_outcome(root: Root, generation: int) -> dict[str, Any] | None:
    """How the generation ended; None while it is open, or when its processes were lost."""
    return read_json(generation_dir(root, generation) / "outcome.json")


def succeeded(root: Root, generation: int) -> bool:
    """Whether the success marker exists: every rank attested that the training came to its end."""
    return read_json(generation_dir(root, generation) / "success.json") is not None
