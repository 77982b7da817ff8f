"""The cluster's names of this job's nodes, by which a person can inspect, drain or exclude them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping


def here(environ: Mapping[str, str] = os.environ) -> str:
    """This node, as named by the starter of the agent, by Slurm, else by the machine itself."""
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
    hosts = [fields[0] for fields in lines if fields]
    return hosts[node] if node < len(hosts) else None
