"""Fixtures of the fault grid: every test has a laboratory of its own, which is swept when the test ends."""

from __future__ import annotations

import fcntl
import json
import os
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
    """Losses of a run that nothing happened to, by ZeRO stage and offload; each is trained once for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    labs: list[Lab] = []

    def train(zero: int, offload: str, steps: int) -> dict[int, float]:
        laboratory = Lab(tmp_path_factory.mktemp("undisturbed"))
        labs.append(laboratory)
        run = laboratory.submit(laboratory.job(zero=zero, offload=offload, steps=steps))
        laboratory.finish(run)
        return laboratory.losses(run)

    def losses(zero: int = 2, offload: str = "none", steps: int = 40) -> dict[int, float]:
        with (shared / f"undisturbed-{zero}-{offload}-{steps}.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # goes with its holder
            file.seek(0)
            known = file.read()
            if not known:
                known = json.dumps(sorted(train(zero, offload, steps).items()))
                file.write(known)
        return dict(json.loads(known))

    yield losses
    for laboratory in labs:
        laboratory.kill_everything()
