"""The fixture `make_bed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from testbeds.ssh.hosts import Bed, missing


@pytest.fixture
def make_bed() -> Iterator[Callable[[int], Bed]]:
    """Makes beds of so many hosts, which end with the test."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    beds: list[Bed] = []

    def make(count: int) -> Bed:
        beds.append(Bed(count))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()
