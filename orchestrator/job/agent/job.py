"""job.json of the bundle, as the agent needs it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from orchestrator.job.agent.codes import HOPELESS, Ended

FORMAT = 1


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `join`: until all nodes are there; `hang`: None: standing still is never judged."""

    join: float = 600.0
    heartbeat: float = 30.0
    grace: float = 900.0
    hang: float | None = None


@dataclass(frozen=True)
class Job:
    """One job as rendered; `raw` has what only the ranks read. `checkpoint_dir` is absolute."""

    name: str
    run_id: str
    nodes: int
    ranks_per_node: int
    device: str
    launcher: str
    python: str | None
    command: tuple[str, ...] | None
    code: Path | None
    checkpoint_dir: Path
    keep: int
    max_failures: int
    env: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]]
    socket_interface: str | None
    hcas: tuple[str, ...]
    cache_dir: str | None
    disk_bytes: int | None
    shm_bytes: int | None
    timeouts: Timeouts
    signatures: tuple[Mapping[str, Any], ...]

    @property
    def world_size(self) -> int:
        return self.nodes * self.ranks_per_node


def load(bundle: Path, run_dir: Path) -> Job:
    """Raises Ended when the bundle has no job.json that this agent understands."""
    path = bundle / "job.json"
    try:
        raw = json.loads(path.read_bytes())
        return _make(raw, bundle, run_dir)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise Ended(
            HOPELESS, "configuration", f"{path} is not a job of this version: {what}. Render it again."
        ) from error


def _make(raw: Mapping[str, Any], bundle: Path, run_dir: Path) -> Job:
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']}, this agent reads format {FORMAT}")
    need, timeouts, interface = raw.get("need") or {}, raw.get("timeouts") or {}, raw.get("interface") or {}
    return Job(
        name=raw["name"],
        run_id=os.environ.get("ORCH_RUN_ID") or raw["run_id"],
        nodes=raw["nodes"],
        ranks_per_node=raw["ranks_per_node"],
        device=raw.get("device", "auto"),
        launcher=raw.get("launcher", "torchrun"),
        python=raw.get("python"),
        command=tuple(raw["command"]) if raw.get("command") else None,
        code=bundle / raw["code"] if raw.get("code") else None,
        checkpoint_dir=run_dir / raw["checkpoint_dir"],
        keep=raw.get("keep", 1),
        max_failures=raw["max_failures"],
        env=raw.get("env") or {},
        secrets=raw.get("secrets") or {},
        socket_interface=interface.get("socket"),
        hcas=tuple(interface.get("hcas") or ()),
        cache_dir=raw.get("cache_dir"),
        disk_bytes=need.get("disk_bytes"),
        shm_bytes=need.get("shm_bytes"),
        timeouts=Timeouts(**{key: value for key, value in timeouts.items() if key in Timeouts.__dataclass_fields__}),
        signatures=tuple(raw.get("signatures") or ()),
    )
