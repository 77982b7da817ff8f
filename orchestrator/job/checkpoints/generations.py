"""Generations: every start of a job's processes, by the claims that make them."""

from __future__ import annotations

import os

from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import NewerFormatError, to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import Root, generation_dir, generations_dir
from orchestrator.job.protocol.records import Claim, Outcome, Success
from orchestrator.job.system.atomic import create_json


def numbers(root: Root) -> list[int]:
    """The numbers that are taken, in order, also by a claim whose file is not whole."""
    try:
        names = os.listdir(generations_dir(root))  # asked for often: for a Path each, iterdir takes as long again
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(number for number in map(files.claimed_generation, names) if number)


def newest_number(root: Root) -> int:
    """The newest number that is taken; 0 when none is."""
    return max(numbers(root), default=0)


def newest_before(root: Root, generation: int) -> int | None:
    """The newest number that is taken below `generation`; None when there is none."""
    return max((number for number in numbers(root) if number < generation), default=None)


def read_claim(root: Root, generation: int) -> Claim | None:
    """None when there is no such claim, or its file is not whole. Raises OSError, and NewerFormatError."""
    try:
        claim = read(Claim, generations_dir(root) / files.claim(generation))
    except NewerFormatError:
        raise  # it counts, although it cannot be read
    except RecordError:
        return None
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
    """Takes the claim's number for it; False if another claim has it. Raises OSError."""
    directory = generations_dir(root)
    directory.mkdir(parents=True, exist_ok=True)
    return create_json(directory / files.claim(claim.generation), to_json(claim))


def read_outcome(root: Root, generation: int) -> Outcome | None:
    """How the generation ended; None while it is open, or when its processes were lost. Raises OSError, RecordError."""
    return read(Outcome, generation_dir(root, generation) / files.OUTCOME)


def succeeded(root: Root, generation: int) -> bool:
    """Whether the success marker exists: every rank attested that the training came to its end."""
    return read(Success, generation_dir(root, generation) / files.SUCCESS) is not None
