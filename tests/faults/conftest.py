"""Fixtures of the fault grid: every test has a laboratory of its own, which is swept when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.kill_everything()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[int, float]]]:
    """Losses of a run that nothing happened to, by ZeRO stage and offload; each is trained once per session."""
    known: dict[tuple[int, str, int], dict[int, float]] = {}
    labs: list[Lab] = []

    def losses(zero: int = 2, offload: str = "none", steps: int = 40) -> dict[int, float]:
        key = (zero, offload, steps)
        if key not in known:
            laboratory = Lab(tmp_path_factory.mktemp("undisturbed"))
            labs.append(laboratory)
            run = laboratory.submit(laboratory.job(zero=zero, offload=offload, steps=steps))
            laboratory.finish(run)
            known[key] = laboratory.losses(run)
        return known[key]

    yield losses
    for laboratory in labs:
        laboratory.kill_everything()
