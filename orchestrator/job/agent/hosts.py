"""Under which names the cluster knows the nodes of this job: those that a person can look at, drain or leave out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping


def here(environ: Mapping[str, str] = os.environ) -> str:
    """This node: as whoever started the agent calls it, as Slurm does, else by the name that the machine has itself."""
    return environ.get("ORCH_HOST") or environ.get("SLURMD_NODENAME") or os.uname().nodename


def name_of(node: int, environ: Mapping[str, str] = os.environ) -> str | None:
    """Another node, by its line in the hostfile that the job was started with; None where there is none."""
    path = environ.get("ORCH_HOSTFILE")
    if not path:
        return None
    try:
        lines = [line.partition("#")[0].split() for line in Path(path).read_text().splitlines()]
    except (OSError, ValueError):
        return None
    hosts = [words[0] for words in lines if words]
    return hosts[node] if node < len(hosts) else None
