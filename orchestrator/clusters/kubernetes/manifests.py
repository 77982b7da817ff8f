"""The objects of one attempt, from a bundle that was rendered for attempt 1. Pure.

A bundle is rendered once for a run. Attempts differ in their name, number, starting point and excluded nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.clusters.kubernetes.answers import Manifest
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, JobResource
from orchestrator.clusters.kubernetes.profile import POD_OF_JOB, at
from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission

RUN, RUN_ID, ATTEMPT, ASKED = "orch/run", "orch/run-id", "orch/attempt", "orch/asked"
DIGEST = "orch/digest"  # annotation of a ConfigMap
MANAGED = ("app.kubernetes.io/managed-by", "orch")
_FIRST = 1  # the attempt that bundles are rendered for
_GROUPS = (
    "scheduling.x-k8s.io/pod-group",
    "scheduling.k8s.io/group-name",
)  # labels and annotations that name a pod's PodGroup
_NAMING = ("--start", "--address")  # arguments of the agent with the attempt's name in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """`claim` is None where one of the user's is used; `others` are applied before the job (a PodGroup)."""

    resource: JobResource
    job: Manifest
    config_map: Manifest
    claim: Manifest | None
    others: tuple[Manifest, ...]


def manifests_of(bundle: Bundle, submission: Submission) -> Manifests:
    """The objects of an attempt. Raises JobError when the bundle was not rendered for Kubernetes."""
    found: dict[str, Manifest] = {}
    for file in bundle.files:
        if file.path.endswith(".yaml") and "/" not in file.path:
            document = yaml.load(file.content, _Loader)  # noqa: S506 - a safe loader
            found[file.path.removesuffix(".yaml")] = document
    resource = next((one for one in JOB_RESOURCES.values() if one.kind in found), None)
    if resource is None or "configmap" not in found:
        raise JobError("the bundle holds no job for Kubernetes", hint="render it for a cluster of that kind")
    claim = found.pop("claim", None)
    numbered = {name: _numbered(document, submission) for name, document in found.items()}
    job, config_map = numbered.pop(resource.kind), numbered.pop("configmap")
    for pod in pod_specs(job):
        _exclude(pod, submission.exclude)
    return Manifests(resource=resource, job=job, config_map=config_map, claim=claim, others=tuple(numbered.values()))


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def tombstone(submission: Submission) -> Manifest:
    """An empty ConfigMap in the place of the files of an attempt that was cancelled before it had any."""
    labels = {MANAGED[0]: MANAGED[1], RUN: submission.run, RUN_ID: submission.run_id}
    labels |= {ATTEMPT: str(submission.attempt), ASKED: "yes"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": submission.name, "labels": labels}}


def pod_specs(job: Manifest) -> Iterator[Manifest]:
    """The pod templates' specs of a job object, of any kind; those of a TrainJob are patches."""
    spec = job["spec"]
    found = [at(replica, "template", "spec") for replica in (spec.get("pytorchReplicaSpecs") or {}).values()]
    found += [at(replicated, *POD_OF_JOB) for replicated in spec.get("replicatedJobs") or ()]
    for patch in spec.get("runtimePatches") or ():
        replicated_jobs = at(patch, "trainingRuntimeSpec", "template", "spec", "replicatedJobs") or ()
        found += [at(replicated, *POD_OF_JOB) for replicated in replicated_jobs]
    yield from (pod for pod in found if isinstance(pod, dict))


def _numbered(document: Manifest, submission: Submission) -> Manifest:
    """The document with the attempt's name and number in the places where orch rendered those of attempt 1."""
    first = f"orch-{submission.run}-{_FIRST}"
    number = str(submission.attempt)

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return _arguments([walk(one) for one in value], first, submission)
        if isinstance(value, dict):
            found: Manifest = {key: number if key == ATTEMPT else walk(one) for key, one in value.items()}
            found |= {key: submission.name for key in _GROUPS if found.get(key) == first}
            if at(found, "configMap", "name") == first:
                found["configMap"] = {**found["configMap"], "name": submission.name}
            return found
        return value

    metadata: Manifest = walk(document["metadata"])
    metadata["name"] = submission.name
    # The data of a ConfigMap are files, which do not name an attempt.
    rest = document if document.get("kind") == "ConfigMap" else walk(document)
    return {**rest, "metadata": metadata}


def _arguments(values: list[Any], first: str, submission: Submission) -> list[Any]:
    """The agent's arguments for this attempt; any other list as it is."""
    if "--attempt" not in values:
        return values
    argv = list(values)
    argv[argv.index("--attempt") + 1] = str(submission.attempt)
    for name in _NAMING:
        if name in argv:
            place = argv.index(name) + 1
            argv[place] = _renamed(argv[place], first, submission.name)
    if submission.from_scratch:
        argv.append("--from-scratch")
    if submission.from_step is not None:
        argv += ["--from-step", str(submission.from_step)]
    return argv


def _renamed(text: str, first: str, name: str) -> str:
    """A start or a host name with this attempt's name in it; a host name in a domain has it twice."""
    return re.sub(rf"(?<![-a-z0-9]){re.escape(first)}(?=$|\.|-master-|-node-)", name, text)


def _exclude(pod: Manifest, nodes: Sequence[str]) -> None:
    """Add to the pod's node affinity that it is on none of these nodes."""
    if not nodes:
        return
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    affinity = pod.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        {**term, "matchFields": [*(term.get("matchFields") or ()), *fields]} for term in terms
    ]
