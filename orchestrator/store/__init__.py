"""What orch remembers: an append-only list of events, and each run as the fold over its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.store.lease import Lease, LeaseLostError, LeaseRow
    from orchestrator.store.reader import Reader, open_reader
    from orchestrator.store.store import Store, open_store

__all__ = ["Lease", "LeaseLostError", "LeaseRow", "Reader", "Store", "open_reader", "open_store"]

# Imported when asked for: a command that only reads starts without the model and its dataclasses.
_MODULES = {
    "Lease": "lease",
    "LeaseLostError": "lease",
    "LeaseRow": "lease",
    "Reader": "reader",
    "Store": "store",
    "open_reader": "reader",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
