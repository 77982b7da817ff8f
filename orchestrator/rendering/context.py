"""The values that templates print. Decisions are made here; a template only places them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Kind
from orchestrator.rendering import paths
from orchestrator.rendering.jobfile import job_document
from orchestrator.rendering.request import RenderRequest

_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def job_values(request: RenderRequest) -> dict[str, object]:
    """The values of every template: the job, its ds_config, its hosts, and what the kind of cluster adds."""
    return {
        "job": job_document(request),
        "attempt": request.attempt,
        "ds_config": paths.ds_config(request),
        "hosts": _HOSTS[request.cluster.kind](request),
        "run_dir": paths.shared_run_dir(request),
        "profile": request.cluster.profile,
    }


def manifest_values(request: RenderRequest, carried: Bundle) -> dict[str, object]:
    """What manifests print besides: the files that they carry into the job."""
    raise NotImplementedError(f"{request} {carried}")


def _loopback_hosts(request: RenderRequest) -> list[str]:
    """One address a node: DeepSpeed refuses a hostfile that names a host twice, and all of 127/8 is this machine."""
    return [str(_LOOPBACK + node) for node in range(request.plan.topology.nodes)]


def _no_hosts(_: RenderRequest) -> list[str]:
    return []


_HOSTS: Mapping[Kind, Callable[[RenderRequest], list[str]]] = {
    "local": _loopback_hosts,
    "ssh": _no_hosts,
    "slurm": _no_hosts,
    "kubernetes": _no_hosts,
}
