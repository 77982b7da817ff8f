"""What job.sbatch prints: the options of its header and the time it takes to stop."""

from __future__ import annotations

import re

from orchestrator.rendering import needs
from orchestrator.rendering.request import RenderRequest

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})", re.ASCII)


def values(request: RenderRequest) -> dict[str, object]:
    """The values that only Slurm's templates print."""
    return {
        "job_name": f"orch-{request.spec.name}-{request.attempt}",
        "comment": f"orch:{request.run_id}",
        "cpus_per_task": needs.cpus(request.plan),
        "signal": f"B:USR1@{grace_seconds(request)}",
        "output": _output(request),
        "options": _options(request),
    }


def grace_seconds(request: RenderRequest) -> int:
    """How long before its time limit the job is told: what a save takes, but at most half of the limit."""
    needed = needs.save_seconds(request.plan)
    limit = time_limit_seconds(request.cluster.profile.time_limit)
    return needed if limit is None else max(1, min(needed, limit // 2))


def time_limit_seconds(text: str | None) -> int | None:
    """A time limit as Slurm reads it (minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s); None where it sets no bound."""
    found = _TIME.fullmatch(text or "")
    if not found:
        return None
    parts = [int(part) for part in found["parts"].split(":")]
    if found["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    return ((int(found["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _output(request: RenderRequest) -> str:
    """The log, in the shared directory, else where submitted: Slurm opens it before anything could make a directory."""
    shared = request.cluster.profile.shared_dir
    name = f"orch-{request.spec.name}".replace("%", "%%") + "-%j.log"
    return f"{shared.replace('%', '%%').rstrip('/')}/{name}" if shared else name


def _options(request: RenderRequest) -> list[tuple[str, object]]:
    """Header options that not every job has."""
    profile, plan = request.cluster.profile, request.plan
    memory = needs.memory_mib(plan)
    candidates: tuple[tuple[str, object], ...] = (
        ("partition", profile.partition),
        ("account", profile.account),
        ("qos", profile.qos),
        ("time", profile.time_limit),
        ("gres", f"gpu:{plan.topology.ranks_per_node}" if plan.topology.device != "cpu" else None),
        ("mem", f"{memory}M" if memory else None),
    )
    return [(name, value) for name, value in candidates if value is not None]
