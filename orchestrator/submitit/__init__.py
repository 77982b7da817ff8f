"""submitit's way of working under orch: OrchExecutor submits functions, each as a run that orch launches and recovers.

    executor = OrchExecutor("log/%j", cluster="hpc")
    executor.update_parameters(nodes=2, tasks_per_node=8, gpus_per_node=8, timeout_min=600)
    job = executor.submit(train, "config.yaml")
    job.results()

`task` is the part that travels into the job.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.job.tasks.environment import OrchJobEnvironment
    from orchestrator.submitit.executor import OrchExecutor
    from orchestrator.submitit.job import OrchJob

__all__ = ["OrchExecutor", "OrchJob", "OrchJobEnvironment"]

# Imported when asked for: inside a job only `task` is there.
_MODULES = {"OrchExecutor": "executor", "OrchJob": "job", "OrchJobEnvironment": "task.environment"}


class _StaysBehind:
    """In a job: what a module imports for those who submit it must not keep its functions from being found there."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("a function cannot submit to orch from within a job: only what a job needs of orch is there")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.{_MODULES[name]}"
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        if missing.name != module:
            raise
        return _StaysBehind
