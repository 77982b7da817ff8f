"""The values that templates print. Decisions are made here; a template only places them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

from orchestrator.model.bundle import File
from orchestrator.model.cluster import Kind
from orchestrator.rendering import kubernetes, paths, slurm
from orchestrator.rendering.jobfile import job_document
from orchestrator.rendering.request import RenderRequest

_LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def job_values(request: RenderRequest) -> dict[str, object]:
    """The values of every template: the job, its ds_config, its hosts, and what the kind of cluster adds."""
    own = _OWN.get(request.cluster.kind)
    return {
        "job": job_document(request),
        "attempt": request.attempt,
        "ds_config": paths.ds_config(request),
        "hosts": _HOSTS[request.cluster.kind](request),
        "run_dir": paths.shared_run_dir(request),
        "profile": request.cluster.profile,
        **({request.cluster.kind: own(request)} if own else {}),
    }


def finished(request: RenderRequest, manifests: Sequence[File]) -> Sequence[File]:
    """The manifests as they are handed over. Raises JobError."""
    finish = _FINISH.get(request.cluster.kind)
    return finish(request, manifests) if finish else manifests


def warnings(request: RenderRequest) -> tuple[str, ...]:
    """Sentences for whoever submits or renders the job, of what its cluster makes of it."""
    warn = _WARNINGS.get(request.cluster.kind)
    return warn(request) if warn else ()


def _loopback_hosts(request: RenderRequest) -> list[str]:
    """One address a node: DeepSpeed refuses a hostfile that names a host twice, and all of 127/8 is this machine."""
    return [str(_LOOPBACK + node) for node in range(request.plan.topology.nodes)]


def _listed_hosts(request: RenderRequest) -> list[str]:
    return list(request.cluster.profile.hosts)


def _hosts_of_the_allocation(_: RenderRequest) -> list[str]:
    """None yet: the job writes its hostfile when Slurm has given it nodes."""
    return []


_HOSTS: Mapping[Kind, Callable[[RenderRequest], list[str]]] = {
    "local": _loopback_hosts,
    "ssh": _listed_hosts,
    "slurm": _hosts_of_the_allocation,
    "kubernetes": kubernetes.hosts,
}
_OWN: Mapping[Kind, Callable[[RenderRequest], dict[str, object]]] = {
    "slurm": slurm.values,
    "kubernetes": kubernetes.values,
}
_FINISH: Mapping[Kind, Callable[[RenderRequest, Sequence[File]], Sequence[File]]] = {"kubernetes": kubernetes.finish}
_WARNINGS: Mapping[Kind, Callable[[RenderRequest], tuple[str, ...]]] = {"kubernetes": kubernetes.warnings}
