"""From a command line to a checked job and the backend of its cluster; nothing is written and no cluster is asked."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.cli import context
from orchestrator.clusters import Backend, kind_of, open_backend
from orchestrator.config import configfile, specfile
from orchestrator.config.specfile import LoadedSpec
from orchestrator.errors import JobError
from orchestrator.inputs import localfiles
from orchestrator.model.cluster import BadNodes, Profile
from orchestrator.model.spec import Spec
from orchestrator.runs.prepare import Prepared, prepare
from orchestrator.system.paths import config_path, orch_home


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job file as read, and where it shall run."""

    loaded: LoadedSpec
    cluster: str
    backend: Backend
    bad_nodes: BadNodes

    @property
    def spec(self) -> Spec:
        return self.loaded.spec

    @property
    def job_dir(self) -> str:
        return self.loaded.job_dir

    def place(self, error: JobError) -> JobError:
        """The error with file and line of its field, in the job file or in the configuration."""
        if (error.field or "").startswith("clusters."):
            return configfile.place(error, config_path(os.environ))
        return self.loaded.place(error)


def load(options: Namespace, *, job_kind: str | None = None) -> Job:
    """Read and check `options.job` for `options.cluster`, to be made as `job_kind` there. Raises JobError."""
    loaded = specfile.load(options.job, options.overrides)
    configuration = context.configuration()
    cluster, profile = configfile.cluster(configuration, options.cluster)
    if job_kind is not None:
        profile = _made_as(job_kind, cluster, profile)
    backend = open_backend(cluster, profile, orch_home(os.environ))
    check = localfiles.check_local if kind_of(profile.kind).here else localfiles.check_sent
    try:
        check(loaded.spec, loaded.job_dir)
    except JobError as error:
        raise loaded.place(error) from None
    return Job(loaded=loaded, cluster=cluster, backend=backend, bad_nodes=configuration.nodes)


def _made_as(job_kind: str, cluster: str, profile: Profile) -> Profile:
    manifests = kind_of(profile.kind).manifests
    if manifests is None:
        raise JobError(
            f"--kind {job_kind} is for clusters of kind kubernetes; {cluster} is of kind {profile.kind}",
            hint="name another cluster with -c, or leave --kind out",
        )
    return manifests.made_as(profile, job_kind)


def prepared(
    job: Job,
    name: str | None,
    *,
    attempt: int = 1,
    run_id: str | None = None,
    change: Callable[[Profile], Profile] | None = None,
) -> Prepared:
    """Planned and rendered under `name`; `run_id` is of the run that it shall go on with.

    Raises JobError, ClusterError, and PlanError when it does not fit.
    """
    try:
        return prepare(
            job.spec, job.backend, job_dir=job.job_dir, name=name, attempt=attempt, run_id=run_id, change=change
        )
    except JobError as error:
        raise job.place(error) from None
