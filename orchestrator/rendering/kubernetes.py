"""What the manifests of a PyTorchJob print: names, labels, resources and the agent's command."""

from __future__ import annotations

import posixpath

from orchestrator.errors import JobError
from orchestrator.rendering import needs
from orchestrator.rendering.paths import CLAIM_MOUNT, shared_run_dir
from orchestrator.rendering.request import RenderRequest

BUNDLE_MOUNT = "/orch/bundle"
GPU_RESOURCE = "nvidia.com/gpu"
DEFAULT_IMAGE = "orch-train:1"  # where no profile names one: `manifests/README.md` says what it must hold
DEFAULT_PYTHON = "python3"

KILL_MARGIN_SECONDS = 60  # between the end of a save and the kubelet's kill
SHM_MIB_PER_RANK = 1024


def values(request: RenderRequest) -> dict[str, object]:
    """The values that only Kubernetes' templates print."""
    profile = request.cluster.profile
    _refuse_checkpoints_off_the_claim(request)
    return {
        "name": job_name(request),
        "claim": profile.claim or f"orch-{request.spec.name}",
        "makes_claim": profile.claim is None,
        "image": profile.image or DEFAULT_IMAGE,
        "labels": _labels(request),
        "replicas": _replicas(request),
        "command": [literal(profile.python or DEFAULT_PYTHON), "-m", "orchestrator.agent"],
        "args": _arguments(request),
        "bundle_mount": BUNDLE_MOUNT,
        "claim_mount": CLAIM_MOUNT,
        "secrets": _secrets(request),
        "resources": _resources(request),
        "shm": f"{request.plan.topology.ranks_per_node * SHM_MIB_PER_RANK}Mi",
        "grace_seconds": needs.save_seconds(request.plan) + KILL_MARGIN_SECONDS,
    }


def job_name(request: RenderRequest) -> str:
    """The attempt's name: of the job, its ConfigMap, and the first part of its pods' host names."""
    return f"orch-{request.spec.name}-{request.attempt}"


def hosts(request: RenderRequest) -> list[str]:
    """The host name of every pod, node 0 first: the operator makes a service of that name for each."""
    name = job_name(request)
    workers = [f"{name}-worker-{index}" for index in range(request.plan.topology.nodes - 1)]
    return [f"{name}-master-0", *workers]


def literal(text: str) -> str:
    """Text that the kubelet leaves as it is: it reads $(NAME) in commands as a variable, and $$ as a dollar."""
    return text.replace("$", "$$")


def _arguments(request: RenderRequest) -> list[str]:
    run_dir = shared_run_dir(request)
    assert run_dir is not None
    return [
        *("--bundle", BUNDLE_MOUNT),
        *("--run-dir", literal(run_dir)),
        *("--node", "$(PET_NODE_RANK)"),
        *("--attempt", str(request.attempt)),
        # The same in all pods, as a start must be. The generations tell apart what an operator starts under one name.
        *("--start", job_name(request)),
        *("--address", hosts(request)[0]),
    ]


def _labels(request: RenderRequest) -> list[tuple[str, str]]:
    return [
        ("app.kubernetes.io/managed-by", "orch"),
        ("orch/run", request.spec.name),
        ("orch/run-id", request.run_id),
        ("orch/attempt", str(request.attempt)),
    ]


def _replicas(request: RenderRequest) -> list[tuple[str, int]]:
    workers = request.plan.topology.nodes - 1
    return [("Master", 1), ("Worker", workers)] if workers else [("Master", 1)]


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
        of, _, key = secret.kubernetes.partition("/")
        found.append((name, of, key))
    return sorted(found)


def _resources(request: RenderRequest) -> dict[str, str]:
    """Requests, which are the limits as well. Memory that no plan knows is not asked for."""
    plan, memory = request.plan, needs.memory_mib(request.plan)
    asked: dict[str, str] = {}
    if memory is not None:
        asked["memory"] = f"{memory}Mi"
    if plan.topology.device != "cpu":
        asked["cpu"] = str(needs.cpus(plan))
        asked[GPU_RESOURCE] = str(plan.topology.ranks_per_node)
    return asked


def _refuse_checkpoints_off_the_claim(request: RenderRequest) -> None:
    directory = request.spec.checkpoint.dir
    if posixpath.isabs(directory) and not posixpath.normpath(directory).startswith(f"{CLAIM_MOUNT}/"):
        raise JobError(
            f"{directory!r} is not on the claim, which pods see at {CLAIM_MOUNT}: it would be lost with the pod",
            hint=f"give a relative directory, or one under {CLAIM_MOUNT}/",
            field="checkpoint.dir",
        )
