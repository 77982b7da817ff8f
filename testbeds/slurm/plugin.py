"""The fixture `slurm_cluster`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbeds import Unavailable
from testbeds.slurm.cluster import Cluster


@pytest.fixture(scope="session")
def slurm_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Slurm of eight nodes, started for the first test that asks for it. Its user can read pytest's rootdir."""
    cluster = Cluster(request.config.rootpath)
    try:
        try:
            cluster.start()
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield cluster
    finally:
        cluster.stop(keep=request.session.testsfailed > 0)
