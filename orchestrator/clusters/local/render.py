"""What a bundle for this machine has of its own: an address for each node. Pure."""

from __future__ import annotations

import ipaddress

from orchestrator.rendering.request import KindRendering, RenderRequest

_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def _hosts(request: RenderRequest) -> list[str]:
    """One address a node: DeepSpeed refuses a hostfile that names a host twice, and all of 127/8 is this machine."""
    return [str(_LOOPBACK + node) for node in range(request.plan.topology.nodes)]


RENDERING = KindRendering(hosts=_hosts, base=lambda request: request.job_dir, run_dir=lambda _: None)
