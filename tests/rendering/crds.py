"""The operators' own schemas, as strict as an API server that is asked to validate strictly: no other fields."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CRDS = Path(__file__).parents[1] / "data/crds"
FILES = {
    "PyTorchJob": "kubeflow.org_pytorchjobs.v1.9.4",
    "JobSet": "jobset.x-k8s.io_jobsets.v0.12.0",
    "TrainJob": "trainer.kubeflow.org_trainjobs.v2.3.0",
    "ClusterTrainingRuntime": "trainer.kubeflow.org_clustertrainingruntimes.v2.3.0",
    "ClusterQueue": "kueue.x-k8s.io_clusterqueues.v0.19.2",
    "LocalQueue": "kueue.x-k8s.io_localqueues.v0.19.2",
    "ResourceFlavor": "kueue.x-k8s.io_resourceflavors.v0.19.2",
}

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@cache
def definition(kind: str) -> Any:
    return yaml.load(gzip.decompress((CRDS / f"{FILES[kind]}.yaml.gz").read_bytes()), yaml.CSafeLoader)


@cache
def validator(kind: str, version: str) -> jsonschema.Draft202012Validator:
    """Of what is served under a version, as in v1alpha2."""
    (found,) = [one for one in definition(kind)["spec"]["versions"] if one["name"] == version and one["served"]]
    return jsonschema.Draft202012Validator(strict(found["schema"]["openAPIV3Schema"]))


@cache
def pod_validator() -> jsonschema.Draft202012Validator:
    """Of a pod's template, which JobSet's definition has whole."""
    job = validator("JobSet", "v1alpha2").schema["properties"]["spec"]["properties"]["replicatedJobs"]["items"]
    template = job["properties"]["template"]["properties"]["spec"]["properties"]["template"]
    return jsonschema.Draft202012Validator(template)


def check(value: Any) -> None:
    """Raises ValidationError for an object that its operator's definition does not describe."""
    group, _, version = value["apiVersion"].partition("/")
    assert group == definition(value["kind"])["spec"]["group"]
    validator(value["kind"], version).validate(value)


def strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(inner) for key, inner in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def against_restricted(pod: Any) -> list[str]:
    """What of a pod the strictest Pod Security Standard refuses, rule by rule.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    context = pod.get("securityContext", {})
    wrong = [name for name in ("hostNetwork", "hostPID", "hostIPC", "hostProcess") if pod.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    wrong += [f"volume {volume}" for volume in pod.get("volumes", []) if not set(volume) - {"name"} <= allowed]
    wrong += [] if context.get("runAsNonRoot") is True else ["runAsNonRoot"]
    wrong += ["runAsUser"] if context.get("runAsUser") == 0 else []
    wrong += [] if context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost") else ["seccomp"]
    wrong += [f"sysctl {one}" for one in context.get("sysctls", [])]
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        wrong += _container_against_restricted(container)
    return wrong


def _container_against_restricted(container: Any) -> list[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    wrong = [] if context.get("allowPrivilegeEscalation") is False else ["allowPrivilegeEscalation"]
    wrong += [] if "ALL" in capabilities.get("drop", []) else ["capabilities not dropped"]
    wrong += [name for name in capabilities.get("add", []) if name != "NET_BIND_SERVICE"]
    wrong += [name for name in ("privileged", "procMount") if context.get(name)]
    wrong += ["runAsNonRoot"] if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0 else []
    return wrong + [f"hostPort {port}" for port in container.get("ports", []) if "hostPort" in port]
