"""The real program in a process of its own, and runs recorded in a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.store import Store, open_store
from tests import forks

SUBMITTED_AT = 1_700_000_000.0


def orch(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `orch ...` to its end."""
    if not any(name.startswith(forks.AT_START) for name in environment):
        return forks.run(arguments, cwd=cwd, env=environ(**environment), timeout=60)
    process = start(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start `orch ...`; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environ(**environment),
    )


def environ(**changes: str) -> dict[str, str]:
    """This process's environment with this checkout importable from anywhere."""
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "80", **changes}


def external(directory: Path) -> str:
    """A configuration with which no command starts a controller."""
    path = directory / "external.yaml"
    path.write_text("controller: external\n")
    return str(path)


def record(home: Path, name: str, *events: tuple[str, Mapping[str, Any]], **fields: Any) -> Store:
    """A store with a run of that name and what happened to it; `fields` are of its `submitted` event."""
    store = open_store(home)
    run_dir = home / "runs" / name
    data = {
        "run_id": "0123456789ab",
        "cluster": "local",
        "spec_digest": "d",
        "dir": str(run_dir),
        "checkpoint_dir": str(run_dir / "ckpt"),
        "metrics": str(run_dir / "metrics.jsonl"),
        "steps": 60,
        **fields,
    }
    store.create_run(name, data, at=SUBMITTED_AT)
    for number, (kind, changes) in enumerate(events):
        store.record(name, kind, changes, at=SUBMITTED_AT + number + 1)
    return store


def generation(home: Path, number: int, attempt: int, logs: dict[str, str]) -> Path:
    """A claim and the logs of its generation, as an agent leaves them."""
    root = home / "runs" / "tiny" / "ckpt" / "generations"
    directory = root / f"{number:06d}" / "logs"
    directory.mkdir(parents=True)
    for name, text in logs.items():
        (directory / f"{name}.log").write_text(text)
    claim = {
        "format": 1, "generation": number, "run": "tiny", "run_id": "0123456789ab", "attempt": attempt, "start": "s",
        "nodes": 1, "address": "host", "port": 1, "resume": None, "sealed": [], "rejected": [], "progress": False,
        "failures": 0, "time": 1.0,
    }  # fmt: skip
    (root / f"{number:06d}.json").write_text(json.dumps(claim))
    return directory
