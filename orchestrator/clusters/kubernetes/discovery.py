"""Which of the three kinds of job objects a cluster serves, and which of them is used for a profile's jobs."""

from __future__ import annotations

from orchestrator.clusters.kubernetes.answers import ApiResources, TrainingRuntime
from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, JobResource, choose_kind
from orchestrator.clusters.kubernetes.profile import JobKind, KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable


class Discovery:
    """Caches which kinds are served."""

    def __init__(self, name: str, profile: KubernetesProfile, api: Api) -> None:
        self._name = name
        self._profile = profile
        self._api = api
        self._served: set[str] = set()

    def check(self) -> None:
        """Raise ClusterError unless the objects of this profile can be made."""
        kind = self.job_kind()
        if kind is None:
            raise ClusterError(
                f"the cluster {self._name} serves none of TrainJob, JobSet and PyTorchJob",
                hint="install Kubeflow Trainer, JobSet or the Training Operator there",
            )
        try:
            served = self.serves(JOB_RESOURCES[kind])
        except Unreachable:
            return  # the profile names the kind: the job can be recorded now and dispatched later
        if not served:
            of = JOB_RESOURCES[kind]
            raise ClusterError(
                f"the cluster {self._name} serves no {kind} ({of.group}/{of.version})",
                hint=f"install its operator, or set job_kind of {self._name} to one that is there",
            )

    def job_kind(self) -> JobKind | None:
        """The kind of this profile's job objects; None where none is served. Raises ClusterError."""
        return choose_kind(self._profile.job_kind, serves=self.serves, suits_trainjob=self._suits_trainjob)

    def serves(self, resource: JobResource) -> bool:
        if resource.kind not in self._served:
            try:
                found = self._api.get(ApiResources, f"/apis/{resource.group}/{resource.version}")
            except Refused as refused:
                if not refused.is_missing:
                    raise
                return False
            if not found.has(resource.plural):
                return False
            self._served.add(resource.kind)
        return True

    def _suits_trainjob(self) -> bool:
        """Whether the runtime of TrainJobs is there and fits, and a TrainJob can express the whole profile."""
        from orchestrator.clusters.kubernetes import runtimes  # with modules of templates, which only `auto` needs
        from orchestrator.clusters.kubernetes.render import lost

        if lost(self._profile, "trainjob"):
            return False
        try:
            found = self._api.get(TrainingRuntime, runtimes.path_of(self._profile.runtime, self._api.namespace))
        except Refused:
            return False
        return not runtimes.misfits(found, self._profile)
