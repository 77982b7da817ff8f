"""Kinds that are rendered for and not submitted to: the profile's facts, and an answer that says what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends import BACKENDS, open_backend
from orchestrator.errors import ClusterError
from orchestrator.model.cluster import KINDS, Profile


def test_every_kind_has_a_row() -> None:
    assert set(BACKENDS) == set(KINDS)


@pytest.mark.parametrize("kind", ["kubernetes"])
def test_the_profile_is_all_that_is_known_and_a_submit_says_what_to_do(kind: str, tmp_path: Path) -> None:
    backend = open_backend("hpc", Profile(kind=kind, gpu="h200", gpu_memory=139), tmp_path)
    cluster = backend.probe()
    assert (cluster.name, cluster.kind, cluster.gpu, cluster.gpu_memory) == ("hpc", kind, "h200", 139)
    with pytest.raises(ClusterError, match="cannot be submitted to by this version") as error:
        backend.ready()
    assert "orch render job.yaml -c hpc -o DIR" in (error.value.hint or "")
    assert list(tmp_path.iterdir()) == []
