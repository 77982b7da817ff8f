"""What the manifests of a job print: its kind, names, labels, resources, the agent's command; and what a kind lacks."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.clusters.kubernetes.configmap import config_map_of
from orchestrator.clusters.kubernetes.overlay import Field, lay_over
from orchestrator.clusters.kubernetes.profile import (
    GANGS,
    JOB_KINDS,
    OWN_RUNTIME,
    POD_OF_JOB,
    Document,
    Gang,
    JobKind,
    KubernetesProfile,
    at,
    toleration_problems,
)
from orchestrator.clusters.kubernetes.yamltext import read, write
from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle, File
from orchestrator.rendering import needs, quoting
from orchestrator.rendering.credentials import texts_of
from orchestrator.rendering.files import text_file
from orchestrator.rendering.request import KindRendering, RenderRequest

BUNDLE_MOUNT = "/orch/bundle"
CLAIM_MOUNT = "/shared"  # where a pod sees the claim
HOME = "/home/orch"
TERMINATION_LOG = "/dev/termination-log"  # the kubelet keeps at most 4 KiB of it in the pod's status
DEFAULT_IMAGE = "orch-train:1"  # if the profile names none; `manifests/README.md` says what it must contain
DEFAULT_PYTHON = "python3"

# If there is no interpreter a shell ends with 127; a container runtime with 128, after which operators start it again.
# It also keeps what the image has on its PYTHONPATH.
_EXEC = ("/bin/sh", "-c", f'export PYTHONPATH="{BUNDLE_MOUNT}/lib.zip${{PYTHONPATH:+:$PYTHONPATH}}"; exec "$0" "$@"')

KILL_MARGIN_SECONDS = 60  # between the end of a save and the kubelet's kill
DEAD_NODE_SECONDS = 60
SHM_MIB_PER_RANK = 1024

# Exit codes of a pod's container. What is in neither is counted by the Job: 184, a failure that another start may fix
# and that the agents count by themselves, and kills. Python itself ends with 1 and 2 where it cannot run the agent, a
# shell with 126 and 127 where there is no such interpreter; for the operator of PyTorchJobs all below 128 are final.
PERMANENT = [1, 2, 83, 85, 86, 126, 127]
STOPPED = [182]
_POD_OF_ROLE = ("template", "spec")
_FIRST_PORT, _PORTS = 20000, 10000  # below those of NodePorts, and those that systems give out
_INT32 = 2**31 - 1  # the most that a Job's backoffLimit can be
PODS_A_FAILURE = 10  # failed pods of each node, for each failure that the run may have: far more than agents allow

_ATTEMPT_DIGITS = 3  # reserved in the names of attempts
_LONGEST = 63
_POD_SUFFIX = 6  # a dash and the five letters that the Job controller adds
_LONGEST_IMAGE = 500
_DEAD_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_OWN_VARIABLES = frozenset({"PYTHONPATH", "HOME", "USER", "JOB_COMPLETION_INDEX"})
_GANG_SCHEDULERS: Mapping[Gang, str] = {"volcano": "volcano", "coscheduling": "scheduler-plugins-scheduler"}


def values(request: RenderRequest) -> dict[str, object]:
    """The values that only Kubernetes' templates print."""
    profile, kind = _profile(request), job_kind(request)
    _refuse(request, kind)
    return {
        "kind": kind,
        "of_job": kind != "pytorchjob",  # its pods are made by a Job
        "container": "pytorch" if kind == "pytorchjob" else "node",  # the names that the operators look for
        "name": job_name(request),
        "claim": profile.claim or f"orch-{request.spec.name}",
        "makes_claim": profile.claim is None,
        "image": profile.image or DEFAULT_IMAGE,
        "runtime": _runtime(profile),
        "labels": _labels(request),
        "attempt_labels": _labels(request)[2:],
        "job_labels": [*sorted(profile.labels.items()), *_queue_labels(profile)],
        "annotations": sorted(profile.annotations.items()),
        "pod_labels": [*sorted(profile.labels.items()), *_of_gang(request, kind, "coscheduling", "pod-group")],
        "pod_annotations": [*sorted(profile.annotations.items()), *_of_gang(request, kind, "volcano", "group-name")],
        "gang": _gang(profile, kind),
        "scheduler": _GANG_SCHEDULERS[profile.gang] if profile.gang else None,
        "tolerations": _tolerations(profile),
        "replicas": _replicas(request),
        "backoff_limit": _backoff_limit(request),
        "permanent": PERMANENT,
        "stopped": STOPPED,
        "command": [*_EXEC, literal(profile.python or DEFAULT_PYTHON), "-m", "orchestrator.job.agent"],
        "args": _arguments(request, kind),
        "bundle_mount": BUNDLE_MOUNT,
        "claim_mount": CLAIM_MOUNT,
        "home": HOME,
        "termination_log": TERMINATION_LOG,
        "port": _port(request, kind),
        "secrets": _secrets(request),
        "resources": _resources(request),
        "shm": f"{request.plan.topology.ranks_per_node * SHM_MIB_PER_RANK}Mi",
        "grace_seconds": _grace_seconds(request, kind),
    }


def _grace_seconds(request: RenderRequest, kind: JobKind) -> int | None:
    """None for a TrainJob in a queue.

    Kueue 0.19 writes that back without it; JobSet's webhook refuses what has changed then, and nothing starts.
    """
    if kind == "trainjob" and _profile(request).queue:
        return None
    return _seconds_to_save(request)


def _seconds_to_save(request: RenderRequest) -> int:
    return needs.save_seconds(request.plan) + KILL_MARGIN_SECONDS


def job_kind(request: RenderRequest) -> JobKind:
    """What the job is made as; a PyTorchJob where the profile leaves it to the cluster, which did not answer."""
    wanted = _profile(request).job_kind
    return "pytorchjob" if wanted == "auto" else wanted


def job_name(request: RenderRequest) -> str:
    """The attempt's name: of the job, its ConfigMap, and the first part of its pods' host names."""
    return f"orch-{request.spec.name}-{request.attempt}"


def hosts(request: RenderRequest) -> list[str]:
    """The host name of every pod, node 0 first, as its operator makes it known."""
    name, nodes = job_name(request), request.plan.topology.nodes
    if job_kind(request) == "pytorchjob":
        return [f"{name}-master-0", *(f"{name}-worker-{index}" for index in range(nodes - 1))]
    return [f"{name}-node-0-{index}.{name}" for index in range(nodes)]


def literal(text: str) -> str:
    """Text that the kubelet leaves as it is: it reads $(NAME) in commands as a variable, and $$ as a dollar."""
    return text.replace("$", "$$")


def finish(request: RenderRequest, manifests: Sequence[File]) -> list[File]:
    """The manifests with the profile's overlay laid over the job. Raises JobError for an overlay that cannot be."""
    overlay = _profile(request).overlay
    if not overlay:
        return list(manifests)
    of_job = f"{job_kind(request)}.yaml"
    return [_overlaid(file, overlay, request) if file.path == of_job else file for file in manifests]


def manifests(bundle: Bundle) -> list[str]:
    """The paths of what the API server is given, the job last: it needs the others."""
    own = {f"{kind}.yaml" for kind in JOB_KINDS}
    paths = [file.path for file in bundle.files if file.path.endswith(".yaml") and "/" not in file.path]
    return sorted(paths, key=lambda path: (path in own, path))


def stream(bundle: Bundle) -> str:
    """The manifests as one YAML stream."""
    return "---\n".join(bundle.text(path).removeprefix("---\n") for path in manifests(bundle))


def job_object(bundle: Bundle) -> str:
    """The job of a bundle as YAML in one form, to compare it with another."""
    return write(read(bundle.text(manifests(bundle)[-1])))


def lost(profile: KubernetesProfile, kind: JobKind) -> tuple[str, ...]:
    """What of a profile a job of this kind cannot have there, in sentences. A TrainJob can patch only some fields."""
    return tuple(_lost_to_trainjob(profile)) if kind == "trainjob" else ()


def warnings(request: RenderRequest) -> tuple[str, ...]:
    """What the user should know of the manifests, in sentences."""
    profile, kind = _profile(request), job_kind(request)
    return (*lost(profile, kind), *_of_queue(request, kind), *_needs_of_namespace(profile))


def _of_queue(request: RenderRequest, kind: JobKind) -> Iterator[str]:
    if kind == "trainjob" and _profile(request).queue:
        yield (
            f"queue: a save of this job may take {_seconds_to_save(request)} s, and its pods have the grace period of "
            "the runtime, 600 s in orch's own, as Kueue 0.19 drops a TrainJob's; where that is too short set "
            "terminationGracePeriodSeconds in a copy of manifests/runtime.yaml and name that in runtime, or take "
            "job_kind: jobset"
        )


def _lost_to_trainjob(profile: KubernetesProfile) -> Iterator[str]:
    runtime = profile.runtime
    if profile.priority_class:
        yield (
            f"priority_class: a TrainJob cannot set it; set priorityClassName: {profile.priority_class} in a copy of "
            "manifests/runtime.yaml and name that in runtime, or take job_kind: jobset"
        )
    if profile.gang:
        yield (
            f"gang: a TrainJob's PodGroup is made by its runtime; set podGroupPolicy: {{{profile.gang}: {{}}}} in a "
            "copy of manifests/runtime.yaml and name that in runtime, or take job_kind: jobset"
        )
    if profile.gang_queue:
        yield (
            "gang_queue: a TrainJob's PodGroup is made by its runtime; annotate the template of a copy of "
            f"manifests/runtime.yaml with scheduling.volcano.sh/queue-name: {profile.gang_queue} and name that in "
            "runtime, or take job_kind: jobset"
        )
    if profile.rdma and profile.rdma.host_network:
        yield (
            "rdma: a TrainJob cannot ask for the node's network; set hostNetwork: true and dnsPolicy: "
            "ClusterFirstWithHostNet in a copy of manifests/runtime.yaml, or take job_kind: jobset"
        )
    if runtime.rpartition("/")[2] != OWN_RUNTIME:
        yield (
            f"runtime: {runtime} is not orch's own; unless it is a copy of manifests/runtime.yaml, pods may get a "
            "service account's token and fail `restricted`, a failed one may be started again where that cannot help, "
            "and an eviction may count as a failure"
        )


def _needs_of_namespace(profile: KubernetesProfile) -> Iterator[str]:
    if profile.rdma:
        what = "IPC_LOCK and the node's network" if profile.rdma.host_network else "IPC_LOCK"
        yield f"rdma: pods ask for {what}, which only a namespace of PodSecurity level `privileged` allows"


def _overlaid(file: File, overlay: Document, request: RenderRequest) -> File:
    where = Field((f"clusters.{request.cluster.name}.overlay",))
    job = lay_over(read(file.content.decode()), _of_this_size(overlay, request), where)
    _refuse_pods_without_containers(job, where)
    return text_file(file.path, f"# With the overlay of the cluster's profile.\n{write(job)}")


def _of_this_size(overlay: Document, request: RenderRequest) -> Document:
    """What is meant for workers, of which a PyTorchJob of one node has none, is left out of it."""
    roles = at(overlay, "spec", "pytorchReplicaSpecs")
    if not isinstance(roles, Mapping) or request.plan.topology.nodes > 1:
        return overlay
    master = {role: value for role, value in roles.items() if role != "Worker"}
    return {**overlay, "spec": {**overlay["spec"], "pytorchReplicaSpecs": master}}


def _refuse_pods_without_containers(job: Document, where: Field) -> None:
    """A role or a replicated job that only the overlay has, as by a slip in a name."""
    roles, jobs = at(job, "spec", "pytorchReplicaSpecs") or {}, at(job, "spec", "replicatedJobs") or ()
    found = [("pytorchReplicaSpecs", role, at(one, *_POD_OF_ROLE)) for role, one in roles.items()]
    found += [("replicatedJobs", one.get("name"), at(one, *POD_OF_JOB)) for one in jobs]
    for place, name, pod in found:
        if not at(pod, "containers"):
            (where / "spec" / place / str(name)).refuse(
                f"{name} has no containers",
                hint="a PyTorchJob of orch's has the roles Master and Worker, a JobSet the replicated job node",
            )


def _arguments(request: RenderRequest, kind: JobKind) -> list[str]:
    name, run_dir = job_name(request), _run_dir(request)
    # A start is the same in all pods. A job that was deleted and applied again under its name has another Job; starts
    # by the operator itself are distinguished by generations.
    node, start = (
        ("$(PET_NODE_RANK)", name) if kind == "pytorchjob" else ("$(JOB_COMPLETION_INDEX)", f"{name}.$(ORCH_JOB_UID)")
    )
    return [
        *("--bundle", BUNDLE_MOUNT),
        *("--run-dir", literal(run_dir)),
        *("--node", node),
        *("--attempt", str(request.attempt)),
        *("--start", start),
        *("--address", hosts(request)[0]),
        *("--pod", TERMINATION_LOG),
    ]


def _labels(request: RenderRequest) -> list[tuple[str, str]]:
    return [
        ("app.kubernetes.io/managed-by", "orch"),
        ("orch/run", request.spec.name),
        ("orch/run-id", request.run_id),
        ("orch/attempt", str(request.attempt)),
    ]


def _queue_labels(profile: KubernetesProfile) -> list[tuple[str, str]]:
    wanted = {"kueue.x-k8s.io/queue-name": profile.queue, "kueue.x-k8s.io/priority-class": profile.workload_priority}
    return [(name, value) for name, value in wanted.items() if value]


def _gang(profile: KubernetesProfile, kind: JobKind) -> dict[str, str | None] | None:
    """The PodGroup beside the job; a TrainJob's is made by its runtime."""
    if profile.gang is None or kind == "trainjob":
        return None
    of_pods = profile.priority_class if profile.gang == "volcano" else None  # the other has no such field
    return {"version": "/".join(GANGS[profile.gang]), "priority": of_pods, "queue": profile.gang_queue}


def _of_gang(request: RenderRequest, kind: JobKind, gang: Gang, name: str) -> list[tuple[str, str]]:
    """By what a pod names its PodGroup: a label or an annotation, as its scheduler wants it."""
    if _profile(request).gang != gang or kind == "trainjob":
        return []
    group = {"volcano": "scheduling.k8s.io", "coscheduling": "scheduling.x-k8s.io"}[gang]
    return [(f"{group}/{name}", job_name(request))]


def _tolerations(profile: KubernetesProfile) -> list[Document]:
    given = {toleration.get("key") for toleration in profile.tolerations}
    own = [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEAD_NODE_SECONDS}
        for taint in _DEAD_NODE_TAINTS
        if taint not in given
    ]
    return [*own, *profile.tolerations]


def _runtime(profile: KubernetesProfile) -> dict[str, str]:
    kind, _, name = profile.runtime.rpartition("/")
    return {"kind": kind or "ClusterTrainingRuntime", "name": name}


def _port(request: RenderRequest, kind: JobKind) -> int | None:
    """A port of this run's own where its operator would claim 23456 of every machine, for one job alone at a time.

    The operator gives every PyTorchJob that port, and in the network of the node it becomes the node's.
    """
    rdma = _profile(request).rdma
    if kind != "pytorchjob" or rdma is None or not rdma.host_network:
        return None
    return _FIRST_PORT + int(request.run_id, 16) % _PORTS


def _replicas(request: RenderRequest) -> list[tuple[str, int]]:
    workers = request.plan.topology.nodes - 1
    return [("Master", 1), ("Worker", workers)] if workers else [("Master", 1)]


def _backoff_limit(request: RenderRequest) -> int:
    wanted = request.plan.topology.nodes * (request.spec.restart.max_failures + 1) * PODS_A_FAILURE
    return min(wanted, _INT32)


def _secrets(request: RenderRequest) -> list[tuple[str, str, str]]:
    """Environment variable, Secret and key of each."""
    found = []
    for name, secret in request.spec.secrets.items():
        if secret.kubernetes is None:
            raise JobError(
                "is read from the environment or a file, which a pod does not have",
                hint="name an existing Secret of the namespace: {kubernetes: name/key}",
                field=f"secrets.{name}",
            )
        if name in _OWN_VARIABLES or name.startswith("PET_"):
            raise JobError(
                f"{name} is set in the pod by orch or the operator",
                hint="give the secret another name, and read that in the script",
                field=f"secrets.{name}",
            )
        of, _, key = secret.kubernetes.partition("/")
        found.append((name, of, key))
    return sorted(found)


def _resources(request: RenderRequest) -> dict[str, str]:
    """Requests, which are the limits as well. Memory that no plan knows is not asked for."""
    plan, memory, profile = request.plan, needs.memory_mib(request.plan), _profile(request)
    asked: dict[str, str] = {}
    if memory is not None:
        asked["memory"] = f"{memory}Mi"
    if plan.topology.device != "cpu":
        asked["cpu"] = str(needs.cpus(plan))
        asked[profile.gpu_resource] = str(plan.topology.ranks_per_node)
    if profile.rdma:
        asked[profile.rdma.resource] = str(profile.rdma.count)
    return asked


def _refuse(request: RenderRequest, kind: JobKind) -> None:
    _refuse_checkpoints_off_the_claim(request)
    profile, where = _profile(request), f"clusters.{request.cluster.name}"
    for place, problem in toleration_problems(profile.tolerations):
        raise JobError(problem, field=f"{where}.tolerations[{place}]")
    if kind == "trainjob" and len(profile.image or "") > _LONGEST_IMAGE:
        raise JobError(
            f"has {len(profile.image or '')} characters, a TrainJob's image at most {_LONGEST_IMAGE}",
            hint="give the image a shorter name, or take job_kind: jobset",
            field=f"{where}.image",
        )
    for field in ("image", "python", "annotations", "overlay"):
        _refuse_unsafe(getattr(profile, field), f"{where}.{field}")
    if kind != "pytorchjob":
        _refuse_long_name(request)


def _refuse_unsafe(value: object, field: str) -> None:
    """Kubectl hands JSON on as YAML, in which a server refuses some characters and makes spaces of others."""
    if isinstance(value, Mapping):
        for name, child in value.items():
            _refuse_unsafe(name, field)
            _refuse_unsafe(child, f"{field}.{name}")
    elif isinstance(value, list | tuple):
        for child in value:
            _refuse_unsafe(child, field)
    elif isinstance(value, str) and (found := quoting.UNSAFE_IN_YAML.search(value)):
        raise JobError(
            f"holds the character U+{ord(found[0]):04X}, which does not come through kubectl unchanged",
            hint="take it out",
            field=field,
        )


def _refuse_long_name(request: RenderRequest) -> None:
    """A pod of a Job is named by the job, its number and five letters more, and must be a host name."""
    attempt = "0" * max(_ATTEMPT_DIGITS, len(str(request.attempt)))
    last = f"orch--{attempt}-node-0-{request.plan.topology.nodes - 1}"
    room = _LONGEST - _POD_SUFFIX - len(last)
    if len(request.spec.name) > room:
        raise JobError(
            f"{request.spec.name} has {len(request.spec.name)} characters; as part of its pods' names, which have at "
            f"most {_LONGEST}, it may have {room}",
            hint="shorten it, or give another with --name",
            field="name",
        )


def _refuse_checkpoints_off_the_claim(request: RenderRequest) -> None:
    directory = request.spec.checkpoint.dir
    if posixpath.isabs(directory) and not posixpath.normpath(directory).startswith(f"{CLAIM_MOUNT}/"):
        raise JobError(
            f"{directory!r} is not on the claim, which pods see at {CLAIM_MOUNT}: it would be lost with the pod",
            hint=f"give a relative directory, or one under {CLAIM_MOUNT}/",
            field="checkpoint.dir",
        )


def _profile(request: RenderRequest) -> KubernetesProfile:
    assert isinstance(request.cluster.profile, KubernetesProfile)
    return request.cluster.profile


def _run_dir(request: RenderRequest) -> str:
    return f"{CLAIM_MOUNT}/runs/{request.spec.name}"


def _texts(request: RenderRequest) -> Iterator[tuple[str, str, str]]:
    profile, cluster = _profile(request), f"clusters.{request.cluster.name}"
    yield from ((f"{cluster}.annotations", name, value) for name, value in profile.annotations.items())
    yield from ((f"{cluster}.overlay", name, value) for name, value in texts_of(profile.overlay))


RENDERING = KindRendering(
    hosts=hosts,
    base=lambda _: CLAIM_MOUNT,
    run_dir=_run_dir,
    values=values,
    manifest_values=lambda carried: {"config_map": config_map_of(carried)},
    finish=finish,
    warnings=warnings,
    texts=_texts,
)
