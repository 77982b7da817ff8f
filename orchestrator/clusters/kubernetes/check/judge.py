"""A Kubernetes cluster: what its API server's answers mean for a profile, and what orch can promise there. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile

from orchestrator.clusters.findings import Finding, ok, problem, warning
from orchestrator.clusters.kubernetes.check import answers as lookups
from orchestrator.clusters.kubernetes.check import nodes, queues, rights, storage
from orchestrator.clusters.kubernetes.check.answers import Answers
from orchestrator.clusters.kubernetes.check.objects import Claim, SelfSubjectReview, Version
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, JobResource
from orchestrator.clusters.kubernetes.manifests import RUN
from orchestrator.clusters.kubernetes.profile import JobKind, KubernetesProfile
from orchestrator.clusters.kubernetes.render import DEFAULT_IMAGE, lost

OLDEST = (1, 27)  # pods of a Job have the labels that agents read
APART = 5.0  # seconds between two clocks that are reported
_PLACE = "localqueues/pendingworkloads"
_ENFORCED = "pod-security.kubernetes.io/enforce"
_NAMES: Mapping[JobKind, str] = {"trainjob": "TrainJob", "jobset": "JobSet", "pytorchjob": "PyTorchJob"}
_OPERATORS: Mapping[JobKind, str] = {
    "trainjob": "Kubeflow Trainer", "jobset": "JobSet", "pytorchjob": "the Training Operator"
}  # fmt: skip


def judge(profile: KubernetesProfile, answers: Answers) -> tuple[list[Finding], list[str], list[str]]:
    """Findings, what orch can promise, what it cannot."""
    findings = [
        _server(profile, answers),
        _user(answers),
        *_clock(answers),
        _namespace(profile, answers),
        _kind(profile, answers),
        *_runtime(profile, answers),
        *_security(profile, answers),
        _image(profile),
        *storage.judge(profile, answers),
        *nodes.judge(profile, answers),
        *queues.judge(profile, answers),
        *rights.judge(answers),
    ]
    return findings, *promises(profile, answers)


def filled_in(profile: KubernetesProfile, given: Collection[str], answers: Answers) -> dict[str, str]:
    """Keys of a profile that a cluster itself can supply, except those that were `given`."""
    found: dict[str, str] = {}
    claims = [one.name for one in answers.many(lookups.CLAIMS) or () if _is_for_all(one)]
    if not {"claim", "storage_class"} & set(given) and len(claims) == 1:
        found["claim"] = claims[0]
    queues_there = [one.name for one in answers.many(lookups.QUEUES) or ()]
    if "queue" not in given and len(queues_there) == 1:
        found["queue"] = queues_there[0]
    devices = nodes.devices_of(answers.many(lookups.NODES) or ())
    if "gpu_resource" not in given and len(devices) == 1 and profile.gpu_resource not in devices:
        found["gpu_resource"] = next(iter(devices))
    return found


def _is_for_all(claim: Claim) -> bool:
    """Whether many nodes can write to it, and orch did not make it for one run."""
    return storage.MANY in claim.modes and RUN not in claim.labels


def _server(profile: KubernetesProfile, answers: Answers) -> Finding:
    version = (answers.one(lookups.VERSION) or Version()).git_version
    if version is None:
        found = f"{answers.host} did not say its version: {answers.why(lookups.VERSION)}"
        return warning("Kubernetes", found, f"see that it is {OLDEST[0]}.{OLDEST[1]} or newer: kubectl version")
    match = re.match(r"v?(\d+)\.(\d+)", version)
    old = match is not None and (int(match[1]), int(match[2])) < OLDEST
    if old:
        found = f"{version}, older than {OLDEST[0]}.{OLDEST[1]}: pods do not learn which job they are of"
        if answers.kind(profile) == "pytorchjob":
            return warning("Kubernetes", found, "keep to `job_kind: pytorchjob`, which needs no such label")
        return problem("Kubernetes", found, "update it, or take `job_kind: pytorchjob`")
    return ok("Kubernetes", f"{version} at {answers.host}")


def _user(answers: Answers) -> Finding:
    name = (answers.one(lookups.USER) or SelfSubjectReview()).username
    if name is None:
        return ok("account", "its name was not told, as older servers do not; the permissions below are its own")
    return ok("account", name)


def _clock(answers: Answers) -> Iterator[Finding]:
    """A note: no time of the cluster is compared with one of this machine."""
    ahead = answers.clock
    if ahead is not None and abs(ahead) > APART:
        side = "ahead of" if ahead > 0 else "behind"
        yield ok("clock", f"the server's is {abs(ahead):.0f} s {side} this machine's: times in logs are the cluster's")


def _namespace(profile: KubernetesProfile, answers: Answers) -> Finding:
    name = answers.namespace
    found = name if profile.namespace else f"{name}, that of the kubeconfig's context"
    if answers.lacks(lookups.NAMESPACE):
        return problem("namespace", f"there is no {name}", "make it (manifests/namespace.yaml), or set `namespace`")
    namespace = answers.one(lookups.NAMESPACE)
    if namespace is None:
        return warning(
            "namespace", f"{found}: {answers.why(lookups.NAMESPACE)}", "its labels cannot be read: see it is there"
        )
    if namespace.phase == "Terminating":
        return problem("namespace", f"{found}, which is being deleted", "wait, and make it again; or set `namespace`")
    return ok("namespace", found)


# --- kinds


def _kind(profile: KubernetesProfile, answers: Answers) -> Finding:
    chosen = answers.kind(profile)
    if chosen is None:
        return _nothing_taken(profile, answers)
    of = JOB_RESOURCES[chosen]
    named = f"{_NAMES[chosen]} ({of.group}/{of.version})"
    others = [_NAMES[kind.kind] for kind in answers.served if kind is not of]
    if not answers.serves(of):
        there = f"{' and '.join(others)} would be" if others else "nor are the others"
        todo = f"install {_OPERATORS[chosen]}, or set `job_kind` to one that is there, or auto"
        return _unknown(chosen, answers) or problem("job kind", f"{named} is not served; {there}", todo)
    if profile.job_kind != "auto":
        more = f"; {' and '.join(others)} would be served, too" if others else ""
        return ok("job kind", f"{named}, as the profile says{more}")
    before = takewhile(lambda kind: kind is not of, JOB_RESOURCES.values())
    reasons = [f"{_NAMES[kind.kind]}: {_not_taken(kind, profile, answers)}" for kind in before]
    return ok("job kind", "; ".join([f"{named}, the first that auto takes", *reasons]))


def _nothing_taken(profile: KubernetesProfile, answers: Answers) -> Finding:
    """By auto."""
    trainjob = JOB_RESOURCES["trainjob"]
    if answers.serves(trainjob):
        found = f"auto takes nothing: only TrainJob is served, but {_not_taken(trainjob, profile, answers)}"
        return problem("job kind", found, "fix that, or install JobSet, or set `job_kind: trainjob`")
    unknown = next(filter(None, (_unknown(kind, answers) for kind in JOB_RESOURCES)), None)
    todo = "install JobSet, the Training Operator, or Kubeflow Trainer with manifests/runtime.yaml"
    return unknown or problem("job kind", "the cluster serves none of TrainJob, JobSet and PyTorchJob", todo)


def _unknown(kind: JobKind, answers: Answers) -> Finding | None:
    """The problem that it is not known whether a kind is served."""
    lookup = lookups.RESOURCES[kind]
    if answers.one(lookup) is not None or answers.lacks(lookup):
        return None
    found = f"whether {_NAMES[kind]} is served is not known: {answers.why(lookup)}"
    return problem("job kind", found, "see what kubectl api-resources says")


def _not_taken(kind: JobResource, profile: KubernetesProfile, answers: Answers) -> str:
    if not answers.serves(kind):
        return "not served"
    if gone := lost(profile, kind.kind):
        return gone[0].partition(";")[0]
    if answers.lacks(lookups.RUNTIME):
        return f"there is no runtime {profile.runtime} (manifests/runtime.yaml)"
    misfits = answers.misfits(profile)
    if misfits is None:
        return f"its runtime {profile.runtime} cannot be read: {answers.why(lookups.RUNTIME)}"
    return f"its runtime {profile.runtime} does not fit: {misfits[0]}"


def _runtime(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    """Of TrainJobs, where jobs are made as such."""
    if answers.kind(profile) != "trainjob" or not answers.serves(JOB_RESOURCES["trainjob"]):
        return
    name, misfits = profile.runtime, answers.misfits(profile)
    if answers.lacks(lookups.RUNTIME):
        todo = "kubectl apply --server-side -f manifests/runtime.yaml, or set `runtime` to one that is there"
        yield problem("runtime", f"there is no {name}: the webhook refuses TrainJobs that refer to it", todo)
    elif misfits is None:
        todo = "see that it is a copy of manifests/runtime.yaml, or have the ClusterRole of manifests/rbac.yaml bound"
        yield warning("runtime", f"{name} cannot be read: {answers.why(lookups.RUNTIME)}", todo)
    elif misfits:
        todo = "set `runtime` to a copy of manifests/runtime.yaml, or take `job_kind: jobset`"
        hopeless = any(one.startswith(("it has no", "its job", "it starts ranks")) for one in misfits)
        yield (problem if hopeless else warning)("runtime", f"{name}: {'; '.join(misfits)}", todo)
    else:
        yield ok("runtime", f"{name} does all that orch's own does")


def _security(profile: KubernetesProfile, answers: Answers) -> Iterator[Finding]:
    """What is enforced in the namespace against what is rendered, which passes `restricted` but for rdma."""
    namespace = answers.one(lookups.NAMESPACE)
    if namespace is not None:
        yield _level(profile, namespace.labels.get(_ENFORCED), answers)
    elif not answers.lacks(lookups.NAMESPACE):
        found = f"the namespace's level is not known: {answers.why(lookups.NAMESPACE)}"
        todo = (
            "orch's pods pass `restricted`, but for rdma, for PyTorchJob's init container and for what `overlay` adds"
        )
        yield warning("PodSecurity", found, todo)


def _level(profile: KubernetesProfile, level: str | None, answers: Answers) -> Finding:
    found = f"{level} is enforced" if level else "the namespace enforces no level"
    if profile.rdma and level in ("baseline", "restricted"):
        what = "IPC_LOCK and the node's network" if profile.rdma.host_network else "IPC_LOCK"
        todo = "use a namespace of level `privileged` for it, or remove `rdma`"
        return problem("PodSecurity", f"{found}, and pods with rdma ask for {what}", todo)
    if level == "restricted" and answers.kind(profile) == "pytorchjob":
        found = f"{found}, which the init container of PyTorchJob's operator fails as it is shipped"
        todo = (
            "start the operator with an init container template that passes (manifests/README.md), or enforce "
            "baseline, or take `job_kind: jobset`; jobs of one node have no such container"
        )
        return warning("PodSecurity", found, todo)
    if level not in ("baseline", "restricted"):
        return ok("PodSecurity", found)
    more = "; what `overlay` adds was not checked" if profile.overlay else ""
    return ok("PodSecurity", f"{found}, and orch's pods pass it{more}")


def _image(profile: KubernetesProfile) -> Finding:
    if profile.image is None:
        todo = "set `image` to one that has Python, torch and deepspeed: manifests/README.md"
        return warning("image", f"the profile names none: {DEFAULT_IMAGE} is taken, as if nodes had it", todo)
    return ok("image", f"{profile.image}, which was not checked")


# --- promises


def promises(profile: KubernetesProfile, answers: Answers) -> tuple[list[str], list[str]]:
    """What orch can and cannot promise on this cluster, in sentences."""
    kind = answers.kind(profile)
    if kind is None or not answers.serves(JOB_RESOURCES[kind]):
        return [], []
    return list(_can(profile, answers)), list(_cannot(profile, kind, answers))


def _can(profile: KubernetesProfile, answers: Answers) -> Iterator[str]:
    yield "A rank that dies is started again inside its pod, from the newest proven checkpoint."
    yield (
        "A pod that is deleted or evicted comes back by its operator, and all go on together from there, with no orch "
        "process alive."
    )
    yield "Pods that are asked to stop save first, all together, and have the time that a save is planned to take."
    yield "After a dead node the controller begins another attempt, and what still writes on that node is fenced off."
    if answers.may("list", "events"):
        yield "Why a job gets no pods is reported: refused by PodSecurity, a quota or a webhook."
    if answers.may("list", "nodes"):
        yield "A node that failed several times in a row is left out of later attempts."
    if profile.queue and answers.may("list", "workloads"):
        place = ", and its place there" if answers.may("get", _PLACE) else ""
        yield f"What a job waits for in its queue is reported{place}."


def _cannot(profile: KubernetesProfile, kind: JobKind, answers: Answers) -> Iterator[str]:
    yield from _unseen(profile, answers)
    yield from (f"{sentence[0].upper()}{sentence[1:]}." for sentence in lost(profile, kind))
    if kind == "pytorchjob":
        yield "A PyTorchJob whose pods are refused says nothing of it in its status: only events do."
        if profile.queue:
            yield "Newer versions of Kueue take no PyTorchJob any more: JobSet and TrainJob are the way on."
    if not profile.gang and not profile.queue:
        yield "Some pods of a job may hold GPUs while others wait for theirs: neither `queue` nor `gang` is set."
    if profile.force_delete:
        yield "A pod of a dead node is deleted by force, though it may go on writing there: only the fence holds it."
    else:
        yield (
            "A pod of a dead node stays, and counts in its quota, until the node comes back or somebody deletes it "
            "(`force_delete` is off)."
        )
    yield "Without a controller (orch controller) nobody starts a job again whose object or node is gone."
    yield "Checkpoints on the claim are verified byte by byte only in a pod that mounts it."


def _unseen(profile: KubernetesProfile, answers: Answers) -> Iterator[str]:
    if not answers.may("list", "events"):
        yield "Why a job has no pods cannot be said, nor is it ended for that: orch may not list events."
    if not answers.may("list", "nodes"):
        yield "No node is left out, whatever it did to jobs before: orch may not list nodes."
    if not answers.may("get", "pods/log"):
        yield "Steps, losses, checkpoints and logs are not seen from here: orch may not get pods/log."
    if profile.queue and not answers.may("list", "workloads"):
        yield "What a job waits for in its queue cannot be said: orch may not list Kueue's workloads."
    elif profile.queue and not answers.may("get", _PLACE):
        yield "A job's place in its queue is not known: Kueue does not tell it here."
