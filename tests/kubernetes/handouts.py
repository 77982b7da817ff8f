"""What lies in `manifests/`, for a namespace of a test's own."""

from __future__ import annotations

from typing import Any

import yaml

from testbeds.kubernetes.access import Space
from tests.kubernetes.conftest import MANIFESTS

EVERYWHERE = ("ClusterRole", "ClusterRoleBinding")


def account(space: Space, *, everywhere: bool = True) -> list[dict[str, Any]]:
    """rbac.yaml for a namespace of the test's, whose ClusterRole is not another test's."""
    made = []
    for document in yaml.safe_load_all((MANIFESTS / "rbac.yaml").read_text()):
        if document["kind"] in EVERYWHERE:
            if not everywhere:
                continue
            document["metadata"]["name"] = space.name
            if "roleRef" in document:
                document["roleRef"]["name"] = space.name
        else:
            document["metadata"]["namespace"] = space.name
        for subject in document.get("subjects", ()):
            subject["namespace"] = space.name
        made.append(document)
    return made


def controller(space: Space, image: str, profile: dict[str, Any]) -> list[dict[str, Any]]:
    """controller.yaml as a person adapts it: namespace, image, the store's storage class, the profile."""
    made: list[dict[str, Any]] = list(yaml.safe_load_all((MANIFESTS / "controller.yaml").read_text()))
    by_kind = {document["kind"]: document for document in made}
    for document in made:
        document["metadata"]["namespace"] = space.name
    config = yaml.safe_load(by_kind["ConfigMap"]["data"]["config.yaml"])
    config["clusters"]["k8s"] |= {"namespace": space.name, "claim": space.claim, **profile}
    by_kind["ConfigMap"]["data"]["config.yaml"] = yaml.safe_dump(config)
    by_kind["PersistentVolumeClaim"]["spec"]["storageClassName"] = "shared"
    [container] = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    container["image"] = image
    return made
