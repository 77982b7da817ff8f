"""What every command needs of this machine: the store, the configuration, the newest metrics of a run."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from orchestrator.system.paths import config_path, orch_home

if TYPE_CHECKING:  # slow to import, and not every command needs them
    from orchestrator.model.cluster import Config
    from orchestrator.store import Reader, Store
    from orchestrator.views.table import Row

TAIL = 32 * 1024  # bytes of metrics.jsonl that are enough for the speed


def store() -> Store:
    """The store of this ORCH_HOME, made when it is missing. Raises StoreError."""
    from orchestrator.store import open_store

    return open_store(orch_home(os.environ))


def reader() -> Reader:
    """The store of this ORCH_HOME for a command that only shows runs. Raises StoreError."""
    from orchestrator.store import open_reader

    return open_reader(orch_home(os.environ))


def configuration() -> Config:
    """The configuration file, or what holds without one. Raises JobError."""
    from orchestrator.clusters import PROFILES
    from orchestrator.config import configfile

    return configfile.load(config_path(os.environ), PROFILES)


def starts_controllers() -> bool:
    """Whether commands start a controller where none is alive. Raises JobError."""
    # Without a file there is nothing to read, and no reader to import.
    return not config_path(os.environ).exists() or configuration().controller == "auto"


def snapshot(store: Reader, name: str) -> Row:
    """One run; JobError when there is none of that name."""
    run = store.snapshot(name)
    if run is None:
        raise store.unknown(name)
    return run


def row(run: Row) -> Row:
    """A snapshot with what the clock and the newest metrics say."""
    from orchestrator.views import status

    pace = status.pace(tail_of_metrics(run["metrics"])) if run["phase"] == "running" else None
    return status.row(run, now=time.time(), seconds_per_step=pace)


def tail_of_metrics(path: str) -> list[Row]:
    """The newest lines of a metrics file, oldest first; none when there is no file yet."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - of a thousand runs, Path would take longer than all else
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found: list[Row] = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:  # the first line is cut by the seek, the last perhaps by its writer
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def clock(at: float) -> str:
    """Local date and time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
