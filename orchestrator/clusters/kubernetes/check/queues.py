"""Who lets a job start: Kueue's queue with its quota, the namespace's quota, priorities, a gang scheduler. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.check.answers import (
    GANGS,
    Answers,
    Document,
    amount,
    condition,
    labels_of,
    name_of,
    queue_version,
)
from orchestrator.clusters.kubernetes.profile import KubernetesProfile

LITTLE_MEMORY = 4 * 2.0**30  # bytes of a pod, in which torch, a launcher and compilers do not fit


def judge(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    yield from _kueue(profile, answers)
    yield from _quotas(profile, answers)
    yield from _defaults(answers)
    yield from _named(profile, answers)


def asked_resources(profile: KubernetesProfile) -> tuple[str, ...]:
    """What every job of a profile asks for; memory and, without GPUs, CPUs are not asked for by every one."""
    devices = () if profile.device == "cpu" else (profile.gpu_resource, "cpu")
    return (*devices, *((profile.rdma.resource,) if profile.rdma else ()))


# --- Kueue


def _kueue(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    name, version = profile.queue, queue_version(answers)
    known = sorted(name_of(one) for one in answers.many("queues") or ())
    if name is None:
        if known:
            found = f"the profile names none, and {answers.namespace} has {', '.join(known)}"
            yield warning("queue", found, "set `queue`, or jobs do not wait for their share")
        return
    if version is None:
        if answers.lacks("kueue"):
            todo = "install Kueue, or remove `queue`: a job stays suspended for ever"
            yield problem("queue", f"{name}: the cluster serves no Kueue (v1beta2 or v1beta1)", todo)
        else:
            found = f"{name}: there is no Kueue of a version that orch knows: {answers.why('kueue')}"
            yield warning("queue", found, "see what kubectl get localqueue says")
        return
    queue = answers.one("queue")
    if queue is not None:
        yield _local(name, queue)
        yield from _cluster(profile, queue, answers)
    elif answers.lacks("queue"):
        todo = f"set `queue` to one of: {', '.join(known)}" if known else "make a LocalQueue there, or remove `queue`"
        yield problem("queue", f"there is no {name} in {answers.namespace}", todo)
    else:
        found = f"{name} cannot be looked at: {answers.why('queue')}"
        yield warning("queue", found, "see what kubectl get localqueue says")


def _local(name: str, queue: Document) -> Finding:
    spec, status = queue.get("spec") or {}, queue.get("status") or {}
    of = str(spec.get("clusterQueue", ""))
    counts = f"{status.get('admittedWorkloads', 0)} admitted, {status.get('pendingWorkloads', 0)} waiting"
    found = f"{name}, of the ClusterQueue {of}: {counts}"
    return _held(found, queue) or ok("queue", found)


def _cluster(profile: KubernetesProfile, local: Document, answers: Answers) -> Iterator[Finding]:
    name = str((local.get("spec") or {}).get("clusterQueue", ""))
    queue = answers.one("cluster queue")
    if answers.lacks("cluster queue"):
        yield problem("quota of the queue", f"there is no ClusterQueue {name}", "have it made, or set another `queue`")
        return
    if queue is None:
        found = f"the ClusterQueue {name} cannot be looked at: {answers.why('cluster queue')}"
        yield warning("quota of the queue", found, f"ask its administrator, or kubectl describe clusterqueue {name}")
        return
    if not _selects(queue, answers.one("namespace")):
        found = f"the ClusterQueue {name} takes no jobs of {answers.namespace}, by its namespaceSelector"
        yield problem("quota of the queue", found, "have the namespace labelled as it wants, or set another `queue`")
        return
    found = f"{name}: {_shares(queue)}"
    yield _held(found, queue, what="quota of the queue") or _uncovered(profile, queue, found)


def _held(found: str, queue: Document, *, what: str = "queue") -> Finding | None:
    """That nothing is admitted by a queue of either kind now."""
    active = condition(queue, "Active")
    stop = (queue.get("spec") or {}).get("stopPolicy", "None")
    if stop != "None":
        return problem(what, f"{found}; it is stopped ({stop})", "wait until its administrator lets it go")
    if active.get("status") == "False":
        why = active.get("message") or active.get("reason") or "its status does not say why"
        return problem(what, f"{found}; it is not active: {why}", "have that mended: it admits no job")
    return None


def _uncovered(profile: KubernetesProfile, queue: Document, found: str) -> Finding:
    spec = queue.get("spec") or {}
    covered = {name for group in spec.get("resourceGroups") or () for name in group.get("coveredResources") or ()}
    missing = [name for name in asked_resources(profile) if name not in covered]
    if missing:
        todo = "have it added there, unless Kueue is told to overlook it (excludeResourcePrefixes)"
        return warning("quota of the queue", f"{found}; it has no quota of {', '.join(missing)}", todo)
    small = [name for name in asked_resources(profile) if not _nominal(queue, name)]
    if small and not spec.get("cohort") and not spec.get("cohortName"):
        return problem("quota of the queue", f"{found}; no job of {', '.join(small)} fits", "have its quota raised")
    return ok("quota of the queue", found)


def _flavors(queue: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in (queue.get("spec") or {}).get("resourceGroups") or ():
        for flavor in group.get("flavors") or ():
            for resource in flavor.get("resources") or ():
                yield str(flavor.get("name")), resource


def _nominal(queue: Document, name: str) -> float:
    return sum(amount(one.get("nominalQuota", 0)) for _, one in _flavors(queue) if one.get("name") == name)


def _shares(queue: Document) -> str:
    """Of each flavor and resource: reserved of nominal."""
    status = queue.get("status") or {}
    used = {
        (flavor.get("name"), resource.get("name")): resource.get("total", "0")
        for flavor in status.get("flavorsReservation") or ()
        for resource in flavor.get("resources") or ()
    }
    shown = []
    for flavor, resource in _flavors(queue):
        limit = resource.get("borrowingLimit")
        more = f" and {limit} more to borrow" if limit is not None else ""
        taken = used.get((flavor, resource.get("name")), "0")
        shown.append(f"{taken} of {resource.get('nominalQuota', '0')} {resource.get('name')}{more} ({flavor})")
    return ", ".join(shown) or "no quota of its own"


def _selects(queue: Document, namespace: Document | None) -> bool:
    """Whether a ClusterQueue takes what a namespace sends; so it seems where its labels are not known."""
    selector = (queue.get("spec") or {}).get("namespaceSelector")
    if selector is None:
        return False
    if namespace is None:
        return True
    labels = labels_of(namespace)
    alike = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return alike and all(_matches(labels, one) for one in selector.get("matchExpressions") or ())


def _matches(labels: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    key, operator, values = wanted.get("key", ""), wanted.get("operator"), wanted.get("values") or ()
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }.get(str(operator), True)


# --- the namespace


def _quotas(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    quotas = answers.many("quotas")
    if quotas is None:
        yield warning("quota", f"cannot be looked at: {answers.why('quotas')}", "see what kubectl describe quota says")
        return
    for quota in quotas:
        yield _quota(profile, quota, answers)


def _quota(profile: KubernetesProfile, quota: Document, answers: Answers) -> Finding:
    spec, status = quota.get("spec") or {}, quota.get("status") or {}
    hard, used = status.get("hard") or spec.get("hard") or {}, status.get("used") or {}
    what = f"quota {name_of(quota)}"
    found = ", ".join(f"{used.get(name, '0')} of {limit} {name}" for name, limit in hard.items()) or "it limits nothing"
    if spec.get("scopes") or spec.get("scopeSelector"):
        return ok(what, f"{found}; for some pods only")
    if never := [name for name in _asked(profile) if name in hard and amount(hard[name]) <= 0]:
        return problem(
            what, f"{found}; no job may have any {', '.join(never)}", "have it raised, or use another namespace"
        )
    if spent := [name for name in _asked(profile) if name in hard and amount(used.get(name, 0)) >= amount(hard[name])]:
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
    """Names in a quota of what every job uses."""
    devices = [name for name in asked_resources(profile) if name != "cpu"]
    cpu = [] if profile.device == "cpu" else ["cpu", "requests.cpu", "limits.cpu"]
    claims = [] if profile.claim else ["persistentvolumeclaims", "count/persistentvolumeclaims"]
    return [
        "pods",
        "count/pods",
        "configmaps",
        "count/configmaps",
        *claims,
        *cpu,
        *(f"requests.{one}" for one in devices),
    ]


def _unasked(profile: KubernetesProfile) -> list[str]:
    """Names in a quota of what some jobs do not ask for, and are refused for."""
    names = ["memory", "requests.memory", "limits.memory"]
    return [*names, "cpu", "requests.cpu", "limits.cpu"] if profile.device == "cpu" else names


def _is_given(name: str, answers: Answers) -> bool:
    """Whether a LimitRange gives a container that asks for nothing some of it."""
    kind, _, resource = name.rpartition(".")
    field = "default" if kind == "limits" else "defaultRequest"
    return any(resource in (limit.get(field) or {}) for limit in _of_containers(answers))


def _of_containers(answers: Answers) -> Sequence[Mapping[str, Any]]:
    return [
        limit
        for document in answers.many("limits") or ()
        for limit in (document.get("spec") or {}).get("limits") or ()
        if limit.get("type") == "Container"
    ]


def _defaults(answers: Answers) -> Iterator[Finding]:
    given = [
        limit["default"]["memory"] for limit in _of_containers(answers) if "memory" in (limit.get("default") or {})
    ]
    if given and min(map(amount, given)) < LITTLE_MEMORY:
        found = f"a pod that asks for no memory may use {min(given, key=amount)} (LimitRange)"
        todo = "jobs whose memory no plan knows (scripts of your own) ask for none: give them some in `overlay`"
        yield warning("memory", found, todo)


# --- what the profile names


def _named(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    for what, key, name in (
        ("workload priority", "workload_priority", profile.workload_priority),
        ("priority class", "priority_class", profile.priority_class),
        ("service account", "service_account", profile.service_account),
    ):
        if name and answers.lacks(what):
            yield problem(what, f"there is no {name}", f"have it made, or mend `{key}`")
        elif name and answers.one(what) is not None:
            yield ok(what, name)
    if profile.gang:
        yield _gang(profile, answers)


def _gang(profile: KubernetesProfile, answers: Answers) -> Finding:
    assert profile.gang is not None
    group = GANGS[profile.gang][0]
    resources = (answers.one("gang") or {}).get("resources") or ()
    if any(one.get("name") == "podgroups" for one in resources):
        return ok("gang", f"{profile.gang}: PodGroups of {group} are served")
    if answers.one("gang") is None and not answers.lacks("gang"):
        return warning("gang", f"{profile.gang}: {answers.why('gang')}", "see that its scheduler is there")
    todo = f"install the scheduler, or remove `gang`: nothing else starts pods for {profile.gang}"
    return problem("gang", f"{profile.gang}: the cluster serves no PodGroups of {group}", todo)
