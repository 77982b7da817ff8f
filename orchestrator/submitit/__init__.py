"""submitit's way of working under orch: OrchExecutor submits functions, each as a run that orch launches and recovers.

    executor = OrchExecutor("log/%j", cluster="hpc")
    executor.update_parameters(nodes=2, tasks_per_node=8, gpus_per_node=8, timeout_min=600)
    job = executor.submit(train, "config.yaml")
    job.results()

`orchestrator.job.tasks` is the part that travels into the job.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.job.tasks.environment import OrchJobEnvironment
    from orchestrator.submitit.executor import OrchExecutor
    from orchestrator.submitit.job import OrchJob

__all__ = ["OrchExecutor", "OrchJob", "OrchJobEnvironment"]

# Imported when asked for: inside a job only `orchestrator.job` is there.
_MODULES = {
    "OrchExecutor": "orchestrator.submitit.executor",
    "OrchJob": "orchestrator.submitit.job",
    "OrchJobEnvironment": "orchestrator.job.tasks.environment",
}


class _StaysBehind:
    """In a job: stands for what the function's module imports to submit it, so that the module can be imported."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("a function cannot submit to orch from within a job: only what a job needs of orch is there")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
        return _StaysBehind
