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

from orchestrator.backends.kubernetes.kinds import KINDS, Kind
from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission

RUN, RUN_ID, ATTEMPT, ASKED = "orch/run", "orch/run-id", "orch/attempt", "orch/asked"
MANAGED = ("app.kubernetes.io/managed-by", "orch")
_FIRST = 1  # the attempt that bundles are rendered for


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
    for replica in (spec.get("pytorchReplicaSpecs") or {}).values():
        yield replica["template"]["spec"]
    for replicated in spec.get("replicatedJobs") or ():
        yield replicated["template"]["spec"]["template"]["spec"]
    for patch in spec.get("runtimePatches") or ():
        for replicated in _at(patch, "trainingRuntimeSpec", "template", "spec", "replicatedJobs") or ():
            pod = _at(replicated, "template", "spec", "template", "spec")
            if pod is not None:
                yield pod


def _at(value: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _numbered(document: Any, submission: Submission) -> Any:
    """The document with the attempt's name and number for those of attempt 1."""
    name = re.compile(rf"(?<![-a-z0-9]){re.escape(f'orch-{submission.run}-{_FIRST}')}(?=$|\.|-master-|-node-)")
    number = str(submission.attempt)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return name.sub(submission.name, value)
        if isinstance(value, list):
            return _arguments([walk(one) for one in value], submission)
        if isinstance(value, dict):
            return {key: number if key == ATTEMPT else walk(one) for key, one in value.items()}
        return value

    if document.get("kind") == "ConfigMap":  # its data are files, which say nothing of an attempt
        return {**document, "metadata": walk(document["metadata"])}
    walked: dict[str, Any] = walk(document)
    return walked


def _arguments(values: list[Any], submission: Submission) -> list[Any]:
    if "--attempt" not in values:
        return values
    place = values.index("--attempt") + 1
    told = [*values[:place], str(submission.attempt), *values[place + 1 :]]
    if submission.from_scratch:
        told.append("--from-scratch")
    if submission.from_step is not None:
        told += ["--from-step", str(submission.from_step)]
    return told


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
