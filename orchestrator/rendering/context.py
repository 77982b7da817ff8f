"""The values that templates print. Decisions are made here; a template only places them."""

from __future__ import annotations

from orchestrator.job.protocol.encoding import to_json
from orchestrator.rendering import paths
from orchestrator.rendering.jobfile import job_file
from orchestrator.rendering.request import RenderRequest


def job_values(request: RenderRequest) -> dict[str, object]:
    """The values of every template: the job, its ds_config, its hosts, and what the kind of cluster adds."""
    return {
        "job": to_json(job_file(request)),
        "attempt": request.attempt,
        "ds_config": paths.ds_config(request),
        "hosts": request.kind.hosts(request),
        "run_dir": request.kind.run_dir(request),
        "profile": request.cluster.profile,
        request.cluster.kind: request.kind.values(request),
    }
