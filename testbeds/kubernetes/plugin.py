"""The fixtures `kube_cluster`, `kube_bed` and `kueue`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbeds import Unavailable
from testbeds.kubernetes import given
from testbeds.kubernetes.access import Access
from testbeds.kubernetes.cluster import Cluster
from testbeds.kubernetes.given import GivenCluster


@pytest.fixture(scope="session")
def kube_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A Kubernetes: ours, started for the first test that asks for it, or the one that the user has named."""
    cluster = GivenCluster(tmp_path_factory.mktemp("kubeconfigs")) if given.KUBECONFIG else Cluster()
    try:
        try:
            cluster.start()
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield cluster
    finally:
        cluster.stop(keep=request.session.testsfailed > 0)


@pytest.fixture(scope="session")
def kube_bed(kube_cluster: Access) -> Cluster:
    """Ours, to which anything may be done: for tests that break it, or run what only its image has."""
    if not isinstance(kube_cluster, Cluster):
        pytest.skip("needs a cluster of its own: faults are not made on the user's")
    return kube_cluster


@pytest.fixture(scope="session")
def kueue(kube_bed: Cluster) -> Iterator[Cluster]:
    """Kueue besides, from the first test that asks for it. Let those come last: it looks at all jobs."""
    try:
        kube_bed.start_kueue()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield kube_bed
    kube_bed.stop_kueue()
