"""A laboratory on the Slurm test bed for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbeds.slurm.cluster import Cluster
from tests.slurm.lab import STEPS, SlurmLab, Undisturbed


@pytest.fixture
def lab(slurm_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[SlurmLab]:
    laboratory = SlurmLab(slurm_cluster, slurm_cluster.directory(request.node.name))
    yield laboratory
    laboratory.kill_orch()
    slurm_cluster.heal()


@pytest.fixture(scope="session")
def undisturbed(slurm_cluster: Cluster) -> Undisturbed:
    laboratory = SlurmLab(slurm_cluster, slurm_cluster.directory("undisturbed"))
    job = laboratory.by_hand(laboratory.job("tiny"), "--export=NONE")
    laboratory.until_success("tiny")
    losses = laboratory.counted("tiny")
    assert sorted(losses) == list(range(1, STEPS + 1))
    return Undisturbed(laboratory, job, losses)


@pytest.fixture(scope="session")
def expected(undisturbed: Undisturbed) -> dict[int, float]:
    """Loss by step of the job that nothing happened to."""
    return undisturbed.losses
