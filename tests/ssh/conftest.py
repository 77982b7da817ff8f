"""Fixtures of the tests on ssh hosts. A machine that cannot have such hosts skips them, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbeds.ssh.hosts import Bed
from tests.faults.conftest import undisturbed  # noqa: F401 - a fixture
from tests.ssh.lab import SshLab


@pytest.fixture
def make_lab(make_bed: Callable[[int], Bed], tmp_path: Path) -> Iterator[Callable[..., SshLab]]:
    labs: list[SshLab] = []

    def make(count: int = 2, **profile: object) -> SshLab:
        labs.append(SshLab(tmp_path / f"lab-{len(labs)}", make_bed(count), **profile))
        return labs[-1]

    yield make
    for lab in labs:
        lab.kill_everything()
