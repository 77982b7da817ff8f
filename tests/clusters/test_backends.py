"""The table of kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.clusters import KINDS, kind_of, open_backend
from orchestrator.clusters.kubernetes.profile import KubernetesProfile


def test_every_row_is_the_kind_of_that_name_and_all_that_it_imports_later_is_there(tmp_path: Path) -> None:
    for name in KINDS:
        kind = kind_of(name)
        assert kind.name == name
        assert kind.rendering().hosts
        assert open_backend("it", kind.profile(kind=name), tmp_path).kind == name


def test_to_plan_and_to_render_for_kubernetes_takes_no_way_to_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    cluster = open_backend("k8s", KubernetesProfile(kind="kubernetes", gpu="h200", gpu_memory=139), tmp_path).probe()
    assert (cluster.name, cluster.kind, cluster.gpu, cluster.gpu_memory) == ("k8s", "kubernetes", "h200", 139)
    assert cluster.profile.job_kind == "auto"
    assert list(tmp_path.iterdir()) == []
