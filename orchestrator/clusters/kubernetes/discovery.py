"""Which of the three kinds of job objects a cluster serves, and which of them a profile's jobs become."""

from __future__ import annotations

from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.kinds import KINDS, Kind, is_among, taken
from orchestrator.clusters.kubernetes.profile import JobKind, KubernetesProfile
from orchestrator.errors import ClusterError, Unreachable


class Discovery:
    """Remembers the kinds that it has seen served."""

    def __init__(self, name: str, profile: KubernetesProfile, api: Api) -> None:
        self._name = name
        self._profile = profile
        self._api = api
        self._seen: set[str] = set()

    def check(self) -> None:
        """Raise ClusterError unless the objects of this profile can be made."""
        kind = self.job_kind()
        if kind is None:
            raise ClusterError(
                f"the cluster {self._name} serves none of TrainJob, JobSet and PyTorchJob",
                hint="install Kubeflow Trainer, JobSet or the Training Operator there",
            )
        try:
            served = self.serves(KINDS[kind])
        except Unreachable:
            return  # the kind is given, so that the job can be recorded now, and handed over when there is an answer
        if not served:
            raise ClusterError(
                f"the cluster {self._name} serves no {kind} ({KINDS[kind].group}/{KINDS[kind].version})",
                hint=f"install its operator, or set job_kind of {self._name} to one that is there",
            )

    def job_kind(self) -> JobKind | None:
        """The kind of objects that jobs become here; None where none is served. Raises ClusterError."""
        return taken(self._profile.job_kind, serves=self.serves, suits_trainjob=self._suits_trainjob)

    def serves(self, kind: Kind) -> bool:
        if kind.word not in self._seen:
            try:
                found = self._api.get(f"/apis/{kind.group}/{kind.version}")
            except Refused as refused:
                if not refused.is_missing:
                    raise
                found = {}
            if not is_among(kind, found):
                return False
            self._seen.add(kind.word)
        return True

    def _suits_trainjob(self) -> bool:
        """Whether the runtime of TrainJobs is there and does its part, and nothing of the profile is lost."""
        from orchestrator.clusters.kubernetes import runtimes  # templates' modules, for which only `auto` has a use
        from orchestrator.clusters.kubernetes.render import lost

        if lost(self._profile, "trainjob"):
            return False
        try:
            found = self._api.get(runtimes.path_of(self._profile.runtime, self._api.namespace))
        except Refused:
            return False
        return not runtimes.misfits(found, self._profile)
