"""The objects of one attempt, from a bundle that was rendered for attempt 1. Pure.

A bundle is rendered once for a run. What differs between attempts is the name, the number, where it shall go on from
and which nodes it shall not use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.clusters.kubernetes.kinds import KINDS, Kind
from orchestrator.clusters.kubernetes.profile import POD_OF_JOB, at
from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission

RUN, RUN_ID, ATTEMPT, ASKED = "orch/run", "orch/run-id", "orch/attempt", "orch/asked"
DIGEST = "orch/digest"  # annotation of a ConfigMap
MANAGED = ("app.kubernetes.io/managed-by", "orch")
_FIRST = 1  # the attempt that bundles are rendered for
_GROUPS = ("scheduling.x-k8s.io/pod-group", "scheduling.k8s.io/group-name")  # by what a pod names its PodGroup
_NAMING = ("--start", "--address")  # arguments of the agent with the attempt's name in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """`claim` is None where one of the user's is used; `others` are applied before the job (a PodGroup)."""

    kind: Kind
    job: dict[str, Any]
    config_map: dict[str, Any]
    claim: dict[str, Any] | None
    others: tuple[dict[str, Any], ...]


def manifests_of(bundle: Bundle, submission: Submission) -> Manifests:
    """The objects of an attempt. Raises JobError when the bundle was not rendered for Kubernetes."""
    found: dict[str, dict[str, Any]] = {}
    for file in bundle.files:
        if file.path.endswith(".yaml") and "/" not in file.path:
            document = yaml.load(file.content, _Loader)  # noqa: S506 - a safe loader
            found[file.path.removesuffix(".yaml")] = document
    word = next((word for word in KINDS if word in found), None)
    if word is None or "configmap" not in found:
        raise JobError("the bundle holds no job for Kubernetes", hint="render it for a cluster of that kind")
    claim = found.pop("claim", None)
    numbered = {name: _numbered(document, submission) for name, document in found.items()}
    job, config_map = numbered.pop(word), numbered.pop("configmap")
    for pod in pod_specs(job):
        _exclude(pod, submission.exclude)
    return Manifests(kind=KINDS[word], job=job, config_map=config_map, claim=claim, others=tuple(numbered.values()))


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def tombstone(submission: Submission) -> dict[str, Any]:
    """What stands in the place of an attempt's files where it was cancelled before it had any."""
    labels = {MANAGED[0]: MANAGED[1], RUN: submission.run, RUN_ID: submission.run_id}
    labels |= {ATTEMPT: str(submission.attempt), ASKED: "yes"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": submission.name, "labels": labels}}


def pod_specs(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod templates' specs of a job object, of any kind; those of a TrainJob are patches."""
    spec = job["spec"]
    found = [at(replica, "template", "spec") for replica in (spec.get("pytorchReplicaSpecs") or {}).values()]
    found += [at(replicated, *POD_OF_JOB) for replicated in spec.get("replicatedJobs") or ()]
    for patch in spec.get("runtimePatches") or ():
        replicated_jobs = at(patch, "trainingRuntimeSpec", "template", "spec", "replicatedJobs") or ()
        found += [at(replicated, *POD_OF_JOB) for replicated in replicated_jobs]
    yield from (pod for pod in found if isinstance(pod, dict))


def _numbered(document: Mapping[str, Any], submission: Submission) -> dict[str, Any]:
    """The document with the attempt's name and number for those of attempt 1, where orch itself has put them."""
    first = f"orch-{submission.run}-{_FIRST}"
    number = str(submission.attempt)

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return _arguments([walk(one) for one in value], first, submission)
        if isinstance(value, dict):
            found: dict[str, Any] = {key: number if key == ATTEMPT else walk(one) for key, one in value.items()}
            found |= {key: submission.name for key in _GROUPS if found.get(key) == first}
            if at(found, "configMap", "name") == first:
                found["configMap"] = {**found["configMap"], "name": submission.name}
            return found
        return value

    metadata: dict[str, Any] = walk(document["metadata"])
    metadata["name"] = submission.name
    # The data of a ConfigMap are files, which say nothing of an attempt.
    rest = document if document.get("kind") == "ConfigMap" else walk(dict(document))
    return {**rest, "metadata": metadata}


def _arguments(values: list[Any], first: str, submission: Submission) -> list[Any]:
    """What the agent is told, of this attempt; any other list as it is."""
    if "--attempt" not in values:
        return values
    told = list(values)
    told[values.index("--attempt") + 1] = str(submission.attempt)
    for name in _NAMING:
        if name in values:
            place = values.index(name) + 1
            told[place] = _renamed(told[place], first, submission.name)
    if submission.from_scratch:
        told.append("--from-scratch")
    if submission.from_step is not None:
        told += ["--from-step", str(submission.from_step)]
    return told


def _renamed(text: str, first: str, name: str) -> str:
    """A start or a host name, of which the attempt's name is a part; a host name in a domain has it twice."""
    return re.sub(rf"(?<![-a-z0-9]){re.escape(first)}(?=$|\.|-master-|-node-)", name, text)


def _exclude(pod: dict[str, Any], nodes: Sequence[str]) -> None:
    """Not on these nodes, on top of what the pod asks for already."""
    if not nodes:
        return
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    affinity = pod.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        {**term, "matchFields": [*(term.get("matchFields") or ()), *fields]} for term in terms
    ]
