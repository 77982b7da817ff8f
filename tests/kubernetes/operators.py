"""The operators' own manifests, pointed at the programs and the image of the test bed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes.layout import CONTROL, IMAGE, MOUNTED, USER

# kind of job: namespace and Deployment of its operator
DEPLOYMENTS = {
    "pytorchjob": ("kubeflow", "training-operator"),
    "jobset": ("jobset-system", "jobset-controller-manager"),
    "trainjob": ("kubeflow-system", "kubeflow-trainer-controller-manager"),
    "kueue": ("kueue-system", "kueue-controller-manager"),
}
PROGRAM = {"pytorchjob": "training-operator", "jobset": "jobset", "trainjob": "trainer", "kueue": "kueue"}
KINDS = ("jobs", "jobset.x-k8s.io/jobset", "kubeflow.org/pytorchjob", "trainer.kubeflow.org/trainjob")
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# What a worker of a PyTorchJob waits for; the operator's own one may not run where `restricted` is enforced.
INIT_CONTAINER = f"""\
- name: init-pytorch
  image: {IMAGE}
  imagePullPolicy: IfNotPresent
  command: [sh, -c, 'for i in $(seq {{{{.MaxTries}}}}); do getent hosts {{{{.MasterAddr}}}} && exit 0; sleep 0.5; done; exit 1']
  securityContext: {RESTRICTED}
"""  # noqa: E501 - one command


def adapted(kind: str, manifest: Path) -> str:
    """The manifest of one operator as it is applied here."""
    parts = []
    for text in _documents(manifest.read_text()):
        if "\nkind: CustomResourceDefinition" in text:
            if kind != "pytorchjob" or "\n    kind: PyTorchJob" in text:
                parts.append(text)
            continue
        document = yaml.load(text, Loader=yaml.CSafeLoader)
        if document["kind"] == "Deployment":
            _adapt(kind, document)
        parts.append(yaml.safe_dump(document))
    if kind == "pytorchjob":
        parts.append(yaml.safe_dump(_init_container()))
    return "---\n".join(f"{part.rstrip()}\n" for part in parts)


def torch_runtime(manifest: Path) -> str:
    """The Trainer's own runtime for torch, which every installation has."""
    return next(text for text in _documents(manifest.read_text()) if "\n  name: torch-distributed\n" in text)


def _documents(text: str) -> Iterator[str]:
    return (part for part in f"\n{text}".split("\n---\n") if part.strip())


def _adapt(kind: str, deployment: dict[str, Any]) -> None:
    template = deployment["spec"]["template"]["spec"]
    container = template["containers"][0]
    container["image"] = IMAGE
    container["imagePullPolicy"] = "IfNotPresent"
    container["command"] = [str(MOUNTED / "bin" / PROGRAM[kind])]
    container.pop("resources", None)  # two nodes share a small machine's cores
    container["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 1}
    container["livenessProbe"] |= {"timeoutSeconds": 10, "failureThreshold": 6}
    template["nodeSelector"] = {"kubernetes.io/hostname": CONTROL}
    template["tolerations"] = [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]
    if kind == "pytorchjob":
        container["args"] = ["--enable-scheme=pytorchjob"]
        container["volumeMounts"].append({"name": "init-container", "mountPath": "/etc/config"})
        template["volumes"].append({"name": "init-container", "configMap": {"name": "init-container"}})


def _init_container() -> dict[str, Any]:
    namespace, _ = DEPLOYMENTS["pytorchjob"]
    data = {"initContainer.yaml": INIT_CONTAINER}
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "init-container", "namespace": namespace}, "data": data,
    }  # fmt: skip
