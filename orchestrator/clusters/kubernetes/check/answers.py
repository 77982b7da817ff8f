"""What an API server is asked, and what it said: a document for each question, or that it said no. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.clusters.kubernetes import runtimes
from orchestrator.clusters.kubernetes.kinds import KINDS, Kind, is_among, taken
from orchestrator.clusters.kubernetes.profile import Gang, JobKind, KubernetesProfile
from orchestrator.clusters.kubernetes.render import lost

Document = Mapping[str, Any]
QUEUES, VISIBILITY = "kueue.x-k8s.io", "visibility.kueue.x-k8s.io"
GANGS: Mapping[Gang, tuple[str, str]] = {
    "volcano": ("scheduling.volcano.sh", "v1beta1"),
    "coscheduling": ("scheduling.x-k8s.io", "v1alpha1"),
}
_QUEUE_VERSIONS = ("v1beta2", "v1beta1")  # the first that is served
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)")
_POWERS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A path of the API. `many`: it is a list, which is read to its last page."""

    path: str
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """There is no document: the status of HTTP, 0 where nothing came back, and the server's words."""

    status: int
    words: str


Said = Document | No


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Something that orch does on a cluster. `needed`: without it jobs are not started, seen or ended.

    `resource` may have a part (pods/log); `name` where it is done to one object only; `everywhere`: to no namespace's.
    """

    verb: str
    resource: str
    group: str = ""
    name: str = ""
    everywhere: bool = False
    needed: bool = False
    lost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """`clock`: how many seconds the server's clock is ahead of this machine's, None where it did not tell."""

    host: str
    namespace: str
    said: Mapping[str, Said]
    rights: Mapping[Right, Said] = field(default_factory=dict)
    clock: float | None = None

    def one(self, name: str) -> Document | None:
        """The document that a question was answered with; None where there is none, or nobody may look."""
        said = self.said.get(name)
        return None if said is None or isinstance(said, No) else said

    def many(self, name: str) -> Sequence[Document] | None:
        document = self.one(name)
        return None if document is None else document.get("items") or ()

    def lacks(self, name: str) -> bool:
        """Whether the server said that there is no such thing."""
        said = self.said.get(name)
        return isinstance(said, No) and said.status == 404

    def why(self, name: str) -> str:
        """Why there is no document, in the server's words."""
        said = self.said.get(name)
        return said.words if isinstance(said, No) else "it was not asked"

    def serves(self, kind: Kind) -> bool:
        return is_among(kind, self.one(kind.word) or {})

    @property
    def served(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in KINDS.values() if self.serves(kind))

    def kind(self, profile: KubernetesProfile) -> JobKind | None:
        """What jobs of a profile are made as here: what a submission finds, too."""

        def suits() -> bool:
            return not lost(profile, "trainjob") and self.misfits(profile) == ()

        return taken(profile.job_kind, serves=self.serves, suits_trainjob=suits)

    def misfits(self, profile: KubernetesProfile) -> tuple[str, ...] | None:
        """What the runtime of TrainJobs lacks; None where it is not there, or nobody may look."""
        document = self.one("runtime")
        return None if document is None else runtimes.misfits(document, profile)

    def may(self, verb: str, resource: str) -> bool:
        """Whether it is known to be granted."""
        return any(
            granted(said) is True
            for right, said in self.rights.items()
            if (right.verb, right.resource) == (verb, resource)
        )


def granted(said: Said) -> bool | None:
    """What a review of a right says; None where it was not answered."""
    return None if isinstance(said, No) else bool((said.get("status") or {}).get("allowed"))


def first(profile: KubernetesProfile, namespace: str) -> dict[str, Question]:
    """What is asked whatever the answers are, by name."""
    core = f"/api/v1/namespaces/{namespace}"
    asked: dict[str, Question] = {
        **{kind.word: Question(path=f"/apis/{kind.group}/{kind.version}") for kind in KINDS.values()},
        "namespace": Question(path=core),
        "quotas": Question(path=f"{core}/resourcequotas", many=True),
        "limits": Question(path=f"{core}/limitranges", many=True),
        "nodes": Question(path="/api/v1/nodes", many=True),
        "runtime": Question(path=runtimes.path_of(profile.runtime, namespace)),
        "kueue": Question(path=f"/apis/{QUEUES}"),
        "visibility": Question(path=f"/apis/{VISIBILITY}"),
    }
    asked |= _storage(profile, core)
    if profile.priority_class:
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{profile.priority_class}"
        asked["priority class"] = Question(path=path)
    if profile.service_account:
        asked["service account"] = Question(path=f"{core}/serviceaccounts/{profile.service_account}")
    if profile.gang:
        asked["gang"] = Question(path="/apis/{}/{}".format(*GANGS[profile.gang]))
    return asked


def _storage(profile: KubernetesProfile, core: str) -> dict[str, Question]:
    if profile.claim:
        return {"claim": Question(path=f"{core}/persistentvolumeclaims/{profile.claim}")}
    return {"classes": Question(path="/apis/storage.k8s.io/v1/storageclasses", many=True)}


def of_queues(profile: KubernetesProfile, answers: Answers) -> dict[str, Question]:
    """What is asked of Kueue where it is."""
    version = queue_version(answers)
    if version is None:
        return {}
    base = f"/apis/{QUEUES}/{version}"
    queues = f"{base}/namespaces/{answers.namespace}/localqueues"
    asked = {"queues": Question(path=queues, many=True)}
    if profile.queue:
        asked["queue"] = Question(path=f"{queues}/{profile.queue}")
    if profile.workload_priority:
        asked["workload priority"] = Question(path=f"{base}/workloadpriorityclasses/{profile.workload_priority}")
    return asked


def of_cluster_queue(answers: Answers) -> dict[str, Question]:
    version, queue = queue_version(answers), answers.one("queue")
    name = ((queue or {}).get("spec") or {}).get("clusterQueue")
    if version is None or not name:
        return {}
    return {"cluster queue": Question(path=f"/apis/{QUEUES}/{version}/clusterqueues/{name}")}


def queue_version(answers: Answers) -> str | None:
    """Of Kueue's API; None where it is not served."""
    served = {one.get("version") for one in (answers.one("kueue") or {}).get("versions") or ()}
    return next((version for version in _QUEUE_VERSIONS if version in served), None)


def amount(quantity: Any) -> float:
    """A quantity of Kubernetes (8, 500m, 200Gi, 1e3) as a number; 0 for what is none."""
    match = _QUANTITY.fullmatch(str(quantity))
    return float(match.group(1)) * _POWERS.get(match.group(2), 0.0) if match else 0.0


def condition(document: Document, name: str) -> Document:
    """A condition of an object's status, empty where it has none of that type."""
    found = (document.get("status") or {}).get("conditions") or ()
    return next((one for one in found if one.get("type") == name), {})


def labels_of(document: Document) -> Mapping[str, str]:
    found: Mapping[str, str] = (document.get("metadata") or {}).get("labels") or {}
    return found


def name_of(document: Document) -> str:
    return str((document.get("metadata") or {}).get("name", ""))
