"""The table of backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.clusters import BACKENDS, open_backend
from orchestrator.model.cluster import KINDS, Profile


def test_every_kind_has_a_row() -> None:
    assert set(BACKENDS) == set(KINDS)


def test_to_plan_and_to_render_for_kubernetes_takes_no_way_to_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    cluster = open_backend("k8s", Profile(kind="kubernetes", gpu="h200", gpu_memory=139), tmp_path).probe()
    assert (cluster.name, cluster.kind, cluster.gpu, cluster.gpu_memory) == ("k8s", "kubernetes", "h200", 139)
    assert cluster.job_kind is None
    assert list(tmp_path.iterdir()) == []
