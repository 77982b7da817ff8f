"""Which of the three kinds of job objects a cluster serves, and which of them a profile's jobs become."""

from __future__ import annotations

from orchestrator.backends.kubernetes.api import Api, Refused
from orchestrator.backends.kubernetes.kinds import KINDS, Kind
from orchestrator.errors import ClusterError
from orchestrator.model.cluster import Profile
from orchestrator.model.kubernetes import JobKind


class Served:
    """Remembers the kinds that it has seen served."""

    def __init__(self, name: str, profile: Profile, api: Api) -> None:
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
        if not self.serves(KINDS[kind]):
            raise ClusterError(
                f"the cluster {self._name} serves no {kind} ({KINDS[kind].group}/{KINDS[kind].version})",
                hint=f"install its operator, or set job_kind of {self._name} to one that is there",
            )

    def job_kind(self) -> JobKind | None:
        """The kind of objects that jobs become here; None where none is served. Raises ClusterError."""
        if self._profile.job_kind != "auto":
            return self._profile.job_kind
        for word, kind in KINDS.items():
            if self.serves(kind) and (word != "trainjob" or self._suits_trainjob()):
                return word
        return None

    def serves(self, kind: Kind) -> bool:
        if kind.word not in self._seen:
            try:
                found = self._api.get(f"/apis/{kind.group}/{kind.version}")
            except Refused as refused:
                if not refused.is_missing:
                    raise
                found = {}
            if not any(one.get("name") == kind.plural for one in found.get("resources") or ()):
                return False
            self._seen.add(kind.word)
        return True

    def _suits_trainjob(self) -> bool:
        """Whether the runtime that TrainJobs of this profile refer to is there, and nothing of the profile is lost."""
        from orchestrator.rendering import kubernetes as rendering  # not needed where the kind is given

        if rendering.lost(self._profile, "trainjob"):
            return False
        group = f"/apis/{KINDS['trainjob'].group}/{KINDS['trainjob'].version}"
        scope, _, name = self._profile.runtime.rpartition("/")
        own = scope == "TrainingRuntime"
        place = f"namespaces/{self._api.namespace}/trainingruntimes" if own else "clustertrainingruntimes"
        try:
            self._api.get(f"{group}/{place}/{name}", metadata_only=True)
        except Refused:
            return False
        return True
