"""What a script of the user's own can add to itself; the public face of `orchestrator.job.training`.

`OrchCallback` is for scripts that use the Hugging Face Trainer, `Session` for scripts that have no Trainer. Importing
this package imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.job.training.callback import OrchCallback
    from orchestrator.job.training.session import Session

__all__ = ["OrchCallback", "Session"]


def __getattr__(name: str) -> Any:
    if name == "OrchCallback":
        from orchestrator.job.training.callback import OrchCallback

        return OrchCallback
    if name == "Session":
        from orchestrator.job.training.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
