"""Which nodes the pods of a profile's jobs may get. Pure."""

from __future__ import annotations

from orchestrator.clusters.kubernetes.answers import Node, Taint, condition
from orchestrator.clusters.kubernetes.profile import Document, KubernetesProfile

_BLOCKING = frozenset({"NoSchedule", "NoExecute"})
_PASSING = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")  # not ready, under pressure, being set up


def fits(node: Node, profile: KubernetesProfile) -> bool:
    """Whether a pod could start there if nothing else ran on it.

    A taint named as the GPUs are does not count: some servers add the toleration of it to pods that ask for GPUs.
    """
    has_devices = profile.device == "cpu" or node.allocatable.get(profile.gpu_resource, "0") != "0"
    tainted = set(hindering(node, profile)) - {profile.gpu_resource}
    return is_chosen(node, profile) and is_usable(node) and has_devices and not tainted


def may_return(node: Node, profile: KubernetesProfile) -> bool:
    """Whether only taints that Kubernetes sets and removes by itself keep pods off."""
    taints = hindering(node, profile)
    return is_chosen(node, profile) and bool(taints) and all(taint.startswith(_PASSING) for taint in taints)


def is_chosen(node: Node, profile: KubernetesProfile) -> bool:
    """Whether it has the labels that the profile wants."""
    return all(node.labels.get(key) == value for key, value in profile.node_selector.items())


def is_usable(node: Node) -> bool:
    """Whether it is ready and takes pods."""
    return not node.unschedulable and condition(node.conditions, "Ready").status == "True"


def hindering(node: Node, profile: KubernetesProfile) -> list[str]:
    """The keys of its taints that keep pods with the profile's tolerations off."""
    return [
        taint.key
        for taint in node.taints
        if taint.effect in _BLOCKING and not any(_tolerates(one, taint) for one in profile.tolerations)
    ]


def _tolerates(toleration: Document, taint: Taint) -> bool:
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.key)
    return toleration.get("key") == taint.key and (toleration.get("value") or "") == taint.value
