"""Where the files of a run are: on this machine, or where its cluster says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.cli import context
from orchestrator.clusters.transport import LocalTransport
from orchestrator.job.protocol.files import RUN
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.system.atomic import read_json
from orchestrator.system.paths import orch_home

T = TypeVar("T")


class Read(Protocol):
    """Performs operations that read. Raises Unreachable and ClusterError."""

    def __call__(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]: ...


def are_here(run: Mapping[str, Any]) -> bool:
    """Whether this machine sees the directory of a run, and not another of that name."""
    directory = Path(run["dir"])
    try:
        owner = read_json(directory / RUN)
        return directory.is_dir() and (owner is None or owner.get("run_id") == run["run_id"])
    except OSError:
        return False


def reader_of(run: Mapping[str, Any]) -> Read:
    """How to read the files of a run. Raises JobError when its cluster is not in the configuration any more."""
    if are_here(run):
        return LocalTransport().call_all
    from orchestrator.clusters import open_backend
    from orchestrator.config import configfile

    return open_backend(*configfile.cluster(context.configuration(), run["cluster"]), orch_home(os.environ)).read
