"""What orch remembers: an append-only list of events, and each run as the fold over its own."""

from orchestrator.store.lease import Lease, LeaseLostError, LeaseRow
from orchestrator.store.store import Store, open_store

__all__ = ["Lease", "LeaseLostError", "LeaseRow", "Store", "open_store"]
