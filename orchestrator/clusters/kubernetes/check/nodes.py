"""The nodes that a job may get, and their GPUs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.answers import Node
from orchestrator.clusters.kubernetes.check.answers import NODES, Answers, amount
from orchestrator.clusters.kubernetes.nodes import hindering, is_chosen, is_usable
from orchestrator.clusters.kubernetes.profile import KubernetesProfile

# What devices for training are called, by their vendors' plugins.
_DEVICES = re.compile(
    r"nvidia\.com/(gpu|mig-)\S*|amd\.com/gpu\S*|gpu\.intel\.com/\S+|habana\.ai/gaudi\S*|(\S+\.)?aws\.amazon\.com/neuron\S*"
    r"|google\.com/tpu|huawei\.com/Ascend\S*"
)
_MANY = 6  # names in a sentence


def judge(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    nodes = answers.many(NODES)
    if nodes is None:
        found = f"cannot be listed: {answers.why(NODES)}"
        yield warning(
            "nodes", found, "ask for the ClusterRole of manifests/rbac.yaml: nodes and their GPUs are not known here"
        )
        return
    wanted = [node for node in nodes if is_chosen(node, profile)]
    usable = [node for node in wanted if is_usable(node) and not hindering(node, profile)]
    yield _nodes(profile, nodes, wanted, usable)
    if profile.device == "cpu":
        yield ok("GPUs", "none are asked for: the profile says `device: cpu`")
    else:
        yield _devices("GPUs", profile.gpu_resource, "gpu_resource", usable, nodes)
    if profile.rdma:
        yield _devices("RDMA", profile.rdma.resource, "rdma.resource", usable, ())


def devices_of(nodes: Iterable[Node]) -> dict[str, dict[str, int]]:
    """How many devices for training each node has for pods, by resource and node."""
    found: dict[str, dict[str, int]] = {}
    for node in nodes:
        for resource, count in node.allocatable.items():
            if _DEVICES.fullmatch(resource) and amount(count):
                found.setdefault(resource, {})[node.name] = int(amount(count))
    return found


def _nodes(
    profile: KubernetesProfile, nodes: Sequence[Node], wanted: Sequence[Node], usable: Sequence[Node]
) -> Finding:
    selected = f" with {_labels(profile.node_selector)}" if profile.node_selector else ""
    if not wanted and profile.node_selector:
        return warning(
            "nodes", f"none of {len(nodes)} has {_labels(profile.node_selector)}", "fix `node_selector`, or label nodes"
        )
    found = f"{len(usable)} of {len(wanted)}{selected} can be used"
    named = f": {_named(usable)}" if usable else ""
    away = [node for node in wanted if not is_usable(node)]
    reasons = [f"not ready or cordoned: {_named(away)}"] if away else []
    for taint in sorted({taint for node in wanted if is_usable(node) for taint in hindering(node, profile)}):
        tainted = [node for node in wanted if is_usable(node) and taint in hindering(node, profile)]
        reasons.append(f"tainted {taint}: {_named(tainted)}")
    found = "; ".join([found + named, *reasons])
    if usable:
        return ok("nodes", found)
    return warning("nodes", found, "no job can start there now: tolerate a taint in `tolerations`, or wait for nodes")


def _devices(what: str, resource: str, key: str, usable: Sequence[Node], all_nodes: Sequence[Node]) -> Finding:
    counts = {node.name: int(amount(node.allocatable.get(resource, "0"))) for node in usable}
    counts = {name: count for name, count in counts.items() if count}
    seen = devices_of(all_nodes)
    others = ", ".join(f"{sum(counts.values())} {name}" for name, counts in sorted(seen.items()) if name != resource)
    more = f"; other devices here: {others}" if others else ""
    if counts:
        return ok(what, f"{sum(counts.values())} of {resource} for pods: {_each(counts)}{more}")
    if resource in seen:
        found = f"{resource} only on nodes that cannot be used now: {', '.join(sorted(seen[resource])[:_MANY])}{more}"
        todo = (
            "tolerate their taints in `tolerations`, where the server does not add that; or see why they are not ready"
        )
        return warning(what, found, todo)
    if others:
        return problem(what, f"no node has {resource}{more}", f"set `{key}` to the one that jobs shall ask for")
    todo = "install the device plugin, or wait for nodes; where there are none to come, set `device: cpu`"
    return warning(what, f"no node has {resource} now", todo)


def _each(counts: Mapping[str, int]) -> str:
    """The nodes by how many they have, most first."""
    by_count: dict[int, list[str]] = {}
    for name, count in sorted(counts.items()):
        by_count.setdefault(count, []).append(name)
    return "; ".join(f"{count} on {_names(names)}" for count, names in sorted(by_count.items(), reverse=True))


def _named(nodes: Iterable[Node]) -> str:
    return _names(sorted(node.name for node in nodes))


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + more


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
