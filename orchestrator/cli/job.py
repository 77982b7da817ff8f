"""From a command line to a checked job and the backend of its cluster; nothing is written and no cluster is asked."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass

from orchestrator import configfile, localfiles, specfile
from orchestrator.backends import Backend, open_backend
from orchestrator.cli import context
from orchestrator.errors import JobError
from orchestrator.launch import Prepared, prepare
from orchestrator.model.cluster import BadNodes
from orchestrator.model.spec import Spec
from orchestrator.paths import orch_home


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job file as read, and where it shall run."""

    spec: Spec
    file: str
    job_dir: str
    cluster: str
    backend: Backend
    bad_nodes: BadNodes


def load(options: Namespace) -> Job:
    """Read and check `options.job` for `options.cluster`. Raises JobError."""
    loaded = specfile.load(options.job, options.overrides)
    configuration = context.configuration()
    cluster, profile = configfile.cluster(configuration, options.cluster)
    backend = open_backend(cluster, profile, orch_home(os.environ))
    check = localfiles.check_local if profile.kind == "local" else localfiles.check_sent
    try:
        check(loaded.spec, loaded.job_dir)
    except JobError as error:
        error.file = error.file or options.job
        raise
    return Job(
        spec=loaded.spec,
        file=options.job,
        job_dir=loaded.job_dir,
        cluster=cluster,
        backend=backend,
        bad_nodes=configuration.nodes,
    )


def prepared(job: Job, name: str | None) -> Prepared:
    """Planned and rendered under `name`. Raises JobError, ClusterError, and PlanError when it does not fit."""
    try:
        return prepare(job.spec, job.backend, job_dir=job.job_dir, name=name)
    except JobError as error:
        error.file = error.file or job.file
        raise
