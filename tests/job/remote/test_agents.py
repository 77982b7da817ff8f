"""What a host does for the hand-over of an attempt, performed in this process."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.job.protocol.operations.agents import ReadToken
from orchestrator.job.remote import agents


@contextmanager
def full_disk() -> Iterator[None]:
    """Names can still be made, but not a byte can be written to a file, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_attempt_that_was_begun_is_met_on_a_full_disk(tmp_path: Path) -> None:
    request = ReadToken(str(tmp_path), 1)
    (tmp_path / "attempts/000001").mkdir(parents=True)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        agents.read_token(request)
    first = agents.read_token(request)
    with full_disk():
        assert agents.read_token(request) == first
