from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.bench import Bench


@pytest.fixture
def bench(orch_home: Path) -> Iterator[Bench]:
    made = Bench(orch_home)
    yield made
    made.close()
