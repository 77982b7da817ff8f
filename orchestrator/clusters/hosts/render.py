"""What a bundle for hosts has of its own: their names or addresses, and the directory that they share. Pure."""

from __future__ import annotations

import ipaddress

from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.rendering import paths
from orchestrator.rendering.request import KindRendering, RenderRequest

_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def _addresses(request: RenderRequest) -> list[str]:
    """One address a node: DeepSpeed refuses a hostfile that names a host twice, and all of 127/8 is this machine."""
    return [str(_LOOPBACK + node) for node in range(request.plan.topology.nodes)]


def _profile(request: RenderRequest) -> SshProfile:
    assert isinstance(request.cluster.profile, SshProfile)
    return request.cluster.profile


LOCAL = KindRendering(hosts=_addresses, base=lambda request: request.job_dir, run_dir=lambda _: None)
SSH = KindRendering(
    hosts=lambda request: list(_profile(request).hosts),
    base=lambda request: paths.below(_profile(request).shared_dir, request.job_dir),
    run_dir=lambda request: paths.run_dir_below(_profile(request).shared_dir, request.spec.name),
)
