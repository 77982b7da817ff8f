"""Laboratories on the Kubernetes test bed, and a run that nothing happened to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbeds.kubernetes.access import Access
from tests.kubernetes.lab import STEPS, KubeLab

Make = Callable[..., KubeLab]
MANIFESTS = Path(__file__).parents[2] / "manifests"
TRIAL = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "TrainJob",
    "metadata": {"name": "trial", "namespace": "default"},
    "spec": {"runtimeRef": {"name": "orch-torch"}},
}


@pytest.fixture(scope="session")
def prepared_cluster(kube_cluster: Access) -> Access:
    """With what `manifests/` wants to be applied once."""
    kube_cluster.apply((MANIFESTS / "runtime.yaml").read_text())
    # Trainer's webhook knows a new runtime a moment later than the server does.
    dry = ("create", "--dry-run=server", "-f", "-")
    kube_cluster.until(
        lambda: kube_cluster.said(*dry, input=json.dumps(TRIAL)).returncode == 0, hint="a TrainJob is admitted"
    )
    return kube_cluster


@pytest.fixture
def make_lab(prepared_cluster: Access, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a laboratory for a kind of job object; each has a namespace of its own."""
    made: list[KubeLab] = []

    def make(kind: str = "pytorchjob", **profile: object) -> KubeLab:
        stem = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:24].strip("-")
        made.append(KubeLab(prepared_cluster, tmp_path / f"{stem}-{len(made)}", kind, **profile))
        return made[-1]

    yield make
    for lab in made:
        lab.kill_orch()
        prepared_cluster.delete_namespace(lab.space.name)


@pytest.fixture
def lab(make_lab: Make) -> KubeLab:
    return make_lab()


@pytest.fixture(scope="session")
def undisturbed(kube_cluster: Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KubeLab, str]]:
    """A JobSet that was applied by hand and that nothing happened to, and its name."""
    laboratory = KubeLab(kube_cluster, tmp_path_factory.mktemp("undisturbed") / "undisturbed", "jobset")
    name = laboratory.by_hand(laboratory.job("tiny"))
    laboratory.until_success("tiny")
    yield laboratory, name
    kube_cluster.delete_namespace(laboratory.space.name)


@pytest.fixture(scope="session")
def expected(undisturbed: tuple[KubeLab, str]) -> dict[int, float]:
    """Loss by step of the job that nothing happened to."""
    losses = undisturbed[0].counted("tiny")
    assert sorted(losses) == list(range(1, STEPS + 1))
    return losses
