"""What runs in the ranks of a job: the built-in trainer, and what a script of the user's own can add to itself.

`OrchCallback` is for scripts that use the Hugging Face Trainer, `Session` for scripts that have no Trainer. Importing
this package imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.callback import OrchCallback
    from orchestrator.training.session import Session

__all__ = ["OrchCallback", "Session"]


def __getattr__(name: str) -> Any:
    if name == "OrchCallback":
        from orchestrator.training.callback import OrchCallback

        return OrchCallback
    if name == "Session":
        from orchestrator.training.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
