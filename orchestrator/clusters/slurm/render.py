"""What job.sbatch prints: the options of its header, the time it takes to stop, the container that it runs in."""

from __future__ import annotations

from orchestrator.clusters.slurm.facts import INFINITE, seconds_of
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.errors import JobError
from orchestrator.rendering import needs, paths
from orchestrator.rendering.request import KindRendering, RenderRequest

_MIB = 2**20

# What the script is built on. sbatch takes any beginning of a name that is unique, so beginnings are refused, too.
_SET_BY_ORCH = (
    "array", "chdir", "clusters", "comment", "exclude", "export", "export-file", "job-name", "kill-on-invalid-dep",
    "no-kill", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "quiet",
    "requeue", "signal", "test-only", "wait", "wrap",
)  # fmt: skip


def values(request: RenderRequest) -> dict[str, object]:
    """The values that only Slurm's templates print."""
    return {
        "job_name": f"orch-{request.spec.name}-{request.attempt}",
        "comment": f"orch:{request.run_id}",
        "cpus_per_task": _cpus(request),
        "signal": f"B:USR1@{grace_seconds(request)}",
        "output": _output(request),
        "options": [*_options(request), *_more_options(request)],
        "container": _container(request),
    }


def grace_seconds(request: RenderRequest) -> int:
    """How long before its time limit the job gets the signal: what a save takes, but at most half of the limit."""
    needed = needs.save_seconds(request.plan)
    limit = time_limit_seconds(_profile(request).time_limit)
    return needed if limit is None else max(1, min(needed, limit // 2))


def time_limit_seconds(text: str | None) -> int | None:
    """A time limit as Slurm reads it (minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s); None where it sets no bound."""
    seconds = seconds_of(text or "")
    return int(seconds) if 0 < seconds < INFINITE else None  # Slurm's 0: no limit


def time_limit(profile: SlurmProfile) -> int | None:
    """Seconds after which Slurm itself ends a job; None where it sets no bound."""
    return time_limit_seconds(profile.time_limit)


def _output(request: RenderRequest) -> str:
    """The log, in the shared directory, else where submitted: Slurm opens it before anything could make a directory."""
    shared = _profile(request).shared_dir
    name = f"orch-{request.spec.name}".replace("%", "%%") + "-%j.log"
    return f"{shared.replace('%', '%%').rstrip('/')}/{name}" if shared else name


def _options(request: RenderRequest) -> list[tuple[str, object]]:
    """Header options that not every job has. A value of None: an option that takes none."""
    profile = _profile(request)
    candidates: tuple[tuple[str, object], ...] = (
        ("partition", profile.partition),
        ("account", profile.account),
        ("qos", profile.qos),
        ("reservation", profile.reservation),
        ("constraint", profile.constraint),
        ("time", profile.time_limit),
        ("gres", _gres(request)),
        ("mem", _memory(request)),
        ("exclude", ",".join(profile.exclude) or None),
    )
    given = [(name, value) for name, value in candidates if value is not None]
    return [*given, ("exclusive", None)] if profile.exclusive else given


def _more_options(request: RenderRequest) -> list[tuple[str, object]]:
    """The profile's own `#SBATCH` options. Raises JobError for one that the script depends on."""
    more: list[tuple[str, object]] = []
    for option in _profile(request).options:
        taken = set_by_orch(option)
        if taken is not None:
            raise JobError(
                f"{option} cannot be given here: orch sets --{taken}, and job.sbatch is built on it",
                hint="name the nodes in exclude" if taken == "exclude" else "take it out of the options",
                field=f"clusters.{request.cluster.name}.options",
            )
        name, equals, value = option.removeprefix("--").partition("=")
        more.append((name, value if equals else None))
    return more


def set_by_orch(option: str) -> str | None:
    """The option of orch's own that `--name=value` would change, None when there is none."""
    name = option.removeprefix("--").partition("=")[0]
    return next((own for own in _SET_BY_ORCH if own.startswith(name)), None)


def _gres(request: RenderRequest) -> str | None:
    topology, kind = request.plan.topology, _profile(request).gpu_type
    if topology.device == "cpu":
        return None
    return f"gpu:{kind}:{topology.ranks_per_node}" if kind else f"gpu:{topology.ranks_per_node}"


def _cpus(request: RenderRequest) -> int:
    per_gpu = _profile(request).cpus_per_gpu
    return request.plan.topology.ranks_per_node * per_gpu if per_gpu else needs.cpus(request.plan)


def _memory(request: RenderRequest) -> str | None:
    """Memory of a node: the profile's, else all that it has (0) for a job that takes the whole node, else the plan's.

    None leaves it to the cluster, for a script with unknown needs.
    """
    profile, topology = _profile(request), request.plan.topology
    if profile.memory is not None:
        return _mebibytes(profile.memory)
    if profile.memory_per_gpu is not None:
        return _mebibytes(profile.memory_per_gpu * topology.ranks_per_node)
    all_gpus = topology.device != "cpu" and topology.ranks_per_node == profile.gpus_per_node
    if all_gpus or profile.exclusive:
        return "0"
    planned = needs.memory_mib(request.plan)
    return f"{planned}M" if planned else None


def _mebibytes(amount: int) -> str:
    return f"{max(1, -(-amount // _MIB))}M"


def _container(request: RenderRequest) -> dict[str, object] | None:
    """The container, its own mounts as SOURCE:TARGET; what the job itself needs is mounted by the script."""
    container = _profile(request).container
    if container is None:
        return None
    mounts = [mount if ":" in mount else f"{mount}:{mount}" for mount in container.mounts]
    gpus = ["--nv"] if request.plan.topology.device != "cpu" else []
    return {"runtime": container.runtime, "image": container.image, "mounts": ",".join(mounts), "gpus": gpus}


def _profile(request: RenderRequest) -> SlurmProfile:
    assert isinstance(request.cluster.profile, SlurmProfile)
    return request.cluster.profile


def _base(request: RenderRequest) -> str:
    profile = _profile(request)
    return paths.below(profile.shared_dir, request.job_dir, same_machine=profile.login is None)


RENDERING = KindRendering(
    hosts=lambda _: [],  # none yet: the job writes its hostfile when Slurm has given it nodes
    base=_base,
    run_dir=lambda request: paths.run_dir_below(_profile(request).shared_dir, request.spec.name),
    values=values,
)
