"""The operators' own manifests, pointed at the programs and the image of the test bed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbeds.kubernetes.layout import CONTROL, IMAGE, MOUNTED, USER

# kind of job: namespace and Deployment of its operator
DEPLOYMENTS = {
    "pytorchjob": ("kubeflow", "training-operator"),
    "jobset": ("jobset-system", "jobset-controller-manager"),
    "trainjob": ("kubeflow-system", "kubeflow-trainer-controller-manager"),
    "kueue": ("kueue-system", "kueue-controller-manager"),
}
PROGRAM = {"pytorchjob": "training-operator", "jobset": "jobset", "trainjob": "trainer", "kueue": "kueue"}
STANDARD = ("pytorchjob", "jobset", "trainjob")  # Kueue is there only for tests that ask for it
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


_CONTAINER = {"name": "node", "image": IMAGE}
_TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [_CONTAINER]}}
# An object of each kind that its operator's webhook admits.
ADMITTED: dict[str, dict[str, Any]] = {
    "pytorchjob": {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "spec": {
            "pytorchReplicaSpecs": {
                "Master": {"replicas": 1, "template": {"spec": {"containers": [_CONTAINER | {"name": "pytorch"}]}}}
            }
        },
    },
    "jobset": {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "spec": {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": _TEMPLATE}}}]},
    },
    "trainjob": {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {"runtimeRef": {"name": "torch-distributed"}},
    },
    "kueue": {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An operator's manifest in two parts, for operators must find their own and others' definitions."""

    definitions: str
    rest: str


def adapted(kind: str, manifest: Path) -> Manifest:
    """The manifest of one operator as it is applied here."""
    definitions, rest = [], []
    for text in _documents(manifest.read_text()):
        if "\nkind: CustomResourceDefinition" in text:
            if kind != "pytorchjob" or "\n    kind: PyTorchJob" in text:
                definitions.append(text)
            continue
        document = yaml.load(text, Loader=yaml.CSafeLoader)
        if document["kind"] == "Deployment":
            _adapt(kind, document)
        if kind == "kueue" and document["kind"] == "ConfigMap":
            _with_pytorchjobs(document)
        rest.append(yaml.safe_dump(document))
    if kind == "pytorchjob":
        rest.append(yaml.safe_dump(_init_container()))
    return Manifest(definitions=_stream(definitions), rest=_stream(rest))


def gang_scheduler(kubeconfig: Path) -> dict[str, Any]:
    """The configuration of a scheduler beside the usual one, by the name that its own chart gives it."""
    plugin = {"enabled": [{"name": "Coscheduling"}]}
    profile = {
        "schedulerName": "scheduler-plugins-scheduler",
        "plugins": {"queueSort": {**plugin, "disabled": [{"name": "*"}]}, "multiPoint": plugin},
        "pluginConfig": [{"name": "Coscheduling", "args": {"permitWaitingTimeSeconds": 10}}],
    }
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "profiles": [profile],
    }


def admitted(kind: str) -> str:
    return yaml.safe_dump({**ADMITTED[kind], "metadata": {"name": "probe"}})


def torch_runtime(manifest: Path) -> str:
    """The Trainer's own runtime for torch, which every installation has."""
    return next(text for text in _documents(manifest.read_text()) if "\n  name: torch-distributed\n" in text)


def _stream(documents: list[str]) -> str:
    return "".join(f"---\n{text.strip()}\n" for text in documents)


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


def _with_pytorchjobs(config: dict[str, Any]) -> None:
    """Kueue's own configuration leaves PyTorchJobs out."""
    for name, text in config["data"].items():
        config["data"][name] = text.replace('# - "kubeflow.org/pytorchjob"', '- "kubeflow.org/pytorchjob"')


def _init_container() -> dict[str, Any]:
    namespace, _ = DEPLOYMENTS["pytorchjob"]
    data = {"initContainer.yaml": INIT_CONTAINER}
    metadata = {"name": "init-container", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
