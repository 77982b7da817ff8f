"""The cluster of a test: its agents and all that they started are gone when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.job.agent.cluster import Cluster

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[MakeCluster]:
    made: list[Cluster] = []

    def make(script: str, **job: Any) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster-{len(made)}", script, **job))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
