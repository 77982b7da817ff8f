"""Which nodes the pods of a profile's jobs may get. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.clusters.kubernetes.profile import KubernetesProfile

_KEEPS_OFF = frozenset({"NoSchedule", "NoExecute"})
_PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")  # not ready, under pressure, being set up

Node = Mapping[str, Any]


def fits(node: Node, profile: KubernetesProfile) -> bool:
    """Whether a pod could start there if nothing else ran on it.

    A taint named as the GPUs are does not count: some servers add the toleration of it to pods that ask for GPUs.
    """
    has_devices = profile.device == "cpu" or str(allocatable(node).get(profile.gpu_resource, "0")) != "0"
    tainted = set(hindering(node, profile)) - {profile.gpu_resource}
    return is_chosen(node, profile) and is_usable(node) and has_devices and not tainted


def may_return(node: Node, profile: KubernetesProfile) -> bool:
    """Whether nothing keeps pods off but what Kubernetes itself has said of the node, and takes back by itself."""
    taints = hindering(node, profile)
    return is_chosen(node, profile) and bool(taints) and all(taint.startswith(_PASSING) for taint in taints)


def is_chosen(node: Node, profile: KubernetesProfile) -> bool:
    """Whether it has the labels that the profile wants."""
    labels = (node.get("metadata") or {}).get("labels") or {}
    return all(labels.get(key) == value for key, value in profile.node_selector.items())


def is_usable(node: Node) -> bool:
    """Whether it is ready and takes pods."""
    if (node.get("spec") or {}).get("unschedulable"):
        return False
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def hindering(node: Node, profile: KubernetesProfile) -> list[str]:
    """Its taints that keep pods off which have the profile's tolerations, and no others."""
    return [
        str(taint.get("key"))
        for taint in (node.get("spec") or {}).get("taints") or ()
        if taint.get("effect") in _KEEPS_OFF and not any(_tolerates(one, taint) for one in profile.tolerations)
    ]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    same_key = toleration.get("key") == taint.get("key")
    return same_key and (toleration.get("value") or "") == (taint.get("value") or "")


def allocatable(node: Node) -> Mapping[str, Any]:
    """What of its resources is for pods, by name."""
    found: Mapping[str, Any] = (node.get("status") or {}).get("allocatable") or {}
    return found
