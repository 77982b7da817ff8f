"""Who lets a job start: Kueue with its quota, the namespace's quota, priorities, a gang scheduler. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.answers import condition
from orchestrator.clusters.kubernetes.check import answers as lookups
from orchestrator.clusters.kubernetes.check import objects
from orchestrator.clusters.kubernetes.check.answers import Answers, amount, queue_version
from orchestrator.clusters.kubernetes.profile import GANGS, Gang, KubernetesProfile

LITTLE_MEMORY = 4 * 2.0**30  # bytes, too few for torch, a launcher and compilers


def judge(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    yield from _kueue(profile, answers)
    yield from _quotas(profile, answers)
    yield from _defaults(answers)
    yield from _named(profile, answers)


def asked_resources(profile: KubernetesProfile) -> tuple[str, ...]:
    """The resources that every job of a profile requests; not every job requests memory or, without GPUs, CPUs."""
    devices = () if profile.device == "cpu" else (profile.gpu_resource, "cpu")
    return (*devices, *((profile.rdma.resource,) if profile.rdma else ()))


# --- Kueue


def _kueue(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    name, version = profile.queue, queue_version(answers)
    known = sorted(one.name for one in answers.many(lookups.QUEUES) or ())
    if name is None:
        if known:
            found = f"the profile names none, and {answers.namespace} has {', '.join(known)}"
            yield warning("queue", found, "set `queue`, or jobs do not wait for their share")
        return
    if version is None:
        if answers.lacks(lookups.KUEUE):
            todo = "install Kueue, or remove `queue`: a job stays suspended for ever"
            yield problem("queue", f"{name}: the cluster serves no Kueue (v1beta2 or v1beta1)", todo)
        else:
            found = f"{name}: there is no Kueue of a version that orch knows: {answers.why(lookups.KUEUE)}"
            yield warning("queue", found, "see what kubectl get localqueue says")
        return
    queue = answers.one(lookups.QUEUE)
    if queue is not None:
        yield _local(name, queue)
        yield from _cluster(profile, queue, answers)
    elif answers.lacks(lookups.QUEUE):
        todo = f"set `queue` to one of: {', '.join(known)}" if known else "make a LocalQueue there, or remove `queue`"
        yield problem("queue", f"there is no {name} in {answers.namespace}", todo)
    else:
        found = f"{name} cannot be read: {answers.why(lookups.QUEUE)}"
        yield warning("queue", found, "see what kubectl get localqueue says")


def _local(name: str, queue: objects.LocalQueue) -> Finding:
    counts = f"{queue.admitted} admitted, {queue.pending} waiting"
    found = f"{name}, of the ClusterQueue {queue.cluster_queue}: {counts}"
    return _held(found, queue) or ok("queue", found)


def _cluster(profile: KubernetesProfile, local: objects.LocalQueue, answers: Answers) -> Iterator[Finding]:
    name, queue = local.cluster_queue, answers.one(lookups.CLUSTER_QUEUE)
    if answers.lacks(lookups.CLUSTER_QUEUE):
        yield problem("quota of the queue", f"there is no ClusterQueue {name}", "have it made, or set another `queue`")
        return
    if queue is None:
        found = f"the ClusterQueue {name} cannot be read: {answers.why(lookups.CLUSTER_QUEUE)}"
        yield warning("quota of the queue", found, f"ask its administrator, or kubectl describe clusterqueue {name}")
        return
    if not _selects(queue, answers.one(lookups.NAMESPACE)):
        found = f"the ClusterQueue {name} takes no jobs of {answers.namespace}, by its namespaceSelector"
        yield problem("quota of the queue", found, "have the namespace labelled as it wants, or set another `queue`")
        return
    found = f"{name}: {_shares(queue)}"
    yield _held(found, queue, what="quota of the queue") or _uncovered(profile, queue, found)


def _held(found: str, queue: objects.LocalQueue | objects.ClusterQueue, *, what: str = "queue") -> Finding | None:
    """The problem of a queue that admits nothing now."""
    active = condition(queue.conditions, "Active")
    if queue.stop_policy != "None":
        return problem(what, f"{found}; it is stopped ({queue.stop_policy})", "wait until its administrator lets it go")
    if active.status == "False":
        why = active.message or active.reason or "its status does not say why"
        return problem(what, f"{found}; it is not active: {why}", "have that fixed: it admits no job")
    return None


def _uncovered(profile: KubernetesProfile, queue: objects.ClusterQueue, found: str) -> Finding:
    covered = {name for group in queue.groups for name in group.covered}
    missing = [name for name in asked_resources(profile) if name not in covered]
    if missing:
        todo = "have it added there, unless Kueue is told to overlook it (excludeResourcePrefixes)"
        return warning("quota of the queue", f"{found}; it has no quota of {', '.join(missing)}", todo)
    small = [name for name in asked_resources(profile) if not _nominal(queue, name)]
    if small and not queue.cohort and not queue.cohort_name:
        return problem("quota of the queue", f"{found}; no job of {', '.join(small)} fits", "have its quota raised")
    return ok("quota of the queue", found)


def _flavors(queue: objects.ClusterQueue) -> Iterator[tuple[str, objects.FlavorQuota]]:
    for group in queue.groups:
        for flavor in group.flavors:
            yield from ((flavor.name, resource) for resource in flavor.resources)


def _nominal(queue: objects.ClusterQueue, name: str) -> float:
    return sum(amount(one.nominal) for _, one in _flavors(queue) if one.name == name)


def _shares(queue: objects.ClusterQueue) -> str:
    """Of each flavor and resource: reserved of nominal."""
    used = {(flavor.name, one.name): one.total for flavor in queue.reserved for one in flavor.resources}
    shown = []
    for flavor, one in _flavors(queue):
        more = f" and {one.borrowing_limit} more to borrow" if one.borrowing_limit is not None else ""
        shown.append(f"{used.get((flavor, one.name), '0')} of {one.nominal} {one.name}{more} ({flavor})")
    return ", ".join(shown) or "no quota of its own"


def _selects(queue: objects.ClusterQueue, namespace: objects.Namespace | None) -> bool:
    """Whether a ClusterQueue admits a namespace; True where the namespace's labels are not known."""
    selector = queue.namespaces
    if selector is None or namespace is None:
        return selector is not None
    labels = namespace.labels
    alike = all(labels.get(key) == value for key, value in selector.labels.items())
    return alike and all(_matches(labels, one) for one in selector.expressions)


def _matches(labels: Mapping[str, str], wanted: objects.LabelRequirement) -> bool:
    return {
        "In": labels.get(wanted.key) in wanted.values,
        "NotIn": labels.get(wanted.key) not in wanted.values,
        "Exists": wanted.key in labels,
        "DoesNotExist": wanted.key not in labels,
    }.get(wanted.operator, True)


# --- the namespace


def _quotas(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    quotas = answers.many(lookups.QUOTAS)
    if quotas is None:
        yield warning(
            "quota", f"cannot be listed: {answers.why(lookups.QUOTAS)}", "see what kubectl describe quota says"
        )
        return
    for quota in quotas:
        yield _quota(profile, quota, answers)


def _quota(profile: KubernetesProfile, quota: objects.ResourceQuota, answers: Answers) -> Finding:
    hard, used = quota.hard or quota.wanted, quota.used
    what = f"quota {quota.name}"
    found = ", ".join(f"{used.get(name, '0')} of {limit} {name}" for name, limit in hard.items()) or "it limits nothing"
    if quota.scopes or quota.scope_selector:
        return ok(what, f"{found}; for some pods only")
    if never := [name for name in _asked(profile) if name in hard and amount(hard[name]) <= 0]:
        return problem(
            what, f"{found}; no job may have any {', '.join(never)}", "have it raised, or use another namespace"
        )
    if spent := [
        name for name in _asked(profile) if name in hard and amount(used.get(name, "0")) >= amount(hard[name])
    ]:
        todo = "pods wait until others end; or have it raised"
        return warning(what, f"{found}; used up: {', '.join(spent)}", todo)
    unsaid = [name for name in _unasked(profile) if name in hard and not _is_given(name, answers)]
    if unsaid:
        todo = (
            "jobs whose memory no plan knows (scripts of your own) name none and are refused: add a LimitRange with "
            "defaults, or ask for it in `overlay`"
        )
        return warning(what, f"{found}; every pod must ask for {', '.join(unsaid)}", todo)
    return ok(what, found)


def _asked(profile: KubernetesProfile) -> list[str]:
    """The names in a quota of the resources that every job uses."""
    devices = [name for name in asked_resources(profile) if name != "cpu"]
    cpu = [] if profile.device == "cpu" else ["cpu", "requests.cpu", "limits.cpu"]
    claims = [] if profile.claim else ["persistentvolumeclaims", "count/persistentvolumeclaims"]
    counted = ["pods", "count/pods", "configmaps", "count/configmaps"]
    return [*counted, *claims, *cpu, *(f"requests.{one}" for one in devices)]


def _unasked(profile: KubernetesProfile) -> list[str]:
    """The names in a quota of resources that some jobs do not request, and are refused for."""
    names = ["memory", "requests.memory", "limits.memory"]
    return [*names, "cpu", "requests.cpu", "limits.cpu"] if profile.device == "cpu" else names


def _is_given(name: str, answers: Answers) -> bool:
    """Whether a LimitRange gives some of a resource to a container that requests none."""
    kind, _, resource = name.rpartition(".")
    limits = _of_containers(answers)
    return any(resource in (one.default if kind == "limits" else one.default_request) for one in limits)


def _of_containers(answers: Answers) -> list[objects.Limit]:
    return [one for limits in answers.many(lookups.LIMITS) or () for one in limits.limits if one.type == "Container"]


def _defaults(answers: Answers) -> Iterator[Finding]:
    given = [one.default["memory"] for one in _of_containers(answers) if "memory" in one.default]
    if given and min(map(amount, given)) < LITTLE_MEMORY:
        found = f"a pod that asks for no memory may use {min(given, key=amount)} (LimitRange)"
        todo = "jobs whose memory no plan knows (scripts of your own) ask for none: give them some in `overlay`"
        yield warning("memory", found, todo)


# --- what the profile names


def _named(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    for lookup, key, name in (
        (lookups.WORKLOAD_PRIORITY, "workload_priority", profile.workload_priority),
        (lookups.PRIORITY_CLASS, "priority_class", profile.priority_class),
        (lookups.SERVICE_ACCOUNT, "service_account", profile.service_account),
    ):
        if name and answers.lacks(lookup):
            yield problem(lookup.name, f"there is no {name}", f"have it made, or fix `{key}`")
        elif name and answers.one(lookup) is not None:
            yield ok(lookup.name, name)
    if profile.gang:
        yield _gang(profile.gang, answers)


def _gang(gang: Gang, answers: Answers) -> Finding:
    group, served = GANGS[gang][0], answers.one(lookups.GANG)
    if served is not None and served.has("podgroups"):
        return ok("gang", f"{gang}: PodGroups of {group} are served")
    if served is None and not answers.lacks(lookups.GANG):
        return warning("gang", f"{gang}: {answers.why(lookups.GANG)}", "see that its scheduler is there")
    todo = f"install the scheduler, or remove `gang`: nothing else starts pods for {gang}"
    return problem("gang", f"{gang}: the cluster serves no PodGroups of {group}", todo)
