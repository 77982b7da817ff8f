"""What a bundle for a list of hosts has of its own: the hosts, and the directory that they share. Pure."""

from __future__ import annotations

from orchestrator.clusters.ssh.profile import SshProfile
from orchestrator.rendering import paths
from orchestrator.rendering.request import KindRendering, RenderRequest


def _profile(request: RenderRequest) -> SshProfile:
    assert isinstance(request.cluster.profile, SshProfile)
    return request.cluster.profile


RENDERING = KindRendering(
    hosts=lambda request: list(_profile(request).hosts),
    base=lambda request: paths.below(_profile(request).shared_dir, request.job_dir),
    run_dir=lambda request: paths.run_dir_below(_profile(request).shared_dir, request.spec.name),
)
