"""Runs need a controller: start one in the background where none is alive, unless the configuration says not to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from orchestrator.cli import context
from orchestrator.controller import process
from orchestrator.store import Store

INTERVAL = 5.0  # seconds between two looks while a run is being watched


def keep_controller(store: Store) -> None:
    """Start a controller unless one is alive. Raises StoreError when none can be started."""
    if context.starts_controllers():
        process.ensure(store, os.environ)


def keeper(store: Store) -> Callable[[], None]:
    """A function to call often: now and then it looks whether a controller is alive, and starts one."""
    if not context.starts_controllers():
        return lambda: None
    due = 0.0

    def keep() -> None:
        nonlocal due
        if time.monotonic() >= due:
            process.ensure(store, os.environ)
            due = time.monotonic() + INTERVAL

    return keep
