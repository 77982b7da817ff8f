"""Train examples/quickstart with orch as a user would, and say where things are.

Usage: python tools/quickstart.py

State lies in .orch of the checkout. A run that an earlier call left unfinished is followed to its end; otherwise a
new one is started, quickstart, quickstart-2, ...
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".orch"
JOB = "examples/quickstart/job.yaml"
FINISHED = ("succeeded", "failed", "cancelled", "stopped")


def main() -> int:
    os.chdir(ROOT)
    os.environ["ORCH_HOME"] = str(HOME)
    os.environ.pop("ORCH_CONFIG", None)
    name = next_name(json.loads(orch("status", "--json")))
    command = ["orch", "submit", JOB, "--name", name, "--wait"]
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        print(closing(json.loads(orch("status", name, "--json"))))
    return code


def next_name(runs: list[dict[str, Any]]) -> str:
    """The name of the quickstart run that is under way, else the first free one."""
    phases = {run["name"]: run["phase"] for run in runs}
    number = 1
    while phases.get(name := "quickstart" if number == 1 else f"quickstart-{number}") in FINISHED:
        number += 1
    return name


def orch(*arguments: str) -> str:
    return subprocess.run(["orch", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def closing(status: dict[str, Any]) -> str:
    """What a newcomer wants to know next."""
    metrics = Path(status["metrics"])
    model = next(Path(status["dir"]).glob("*/model"))
    name = status["name"]
    return f"""
  model      {shown(model)}
  metrics    {shown(metrics)}

Look at it:  source .venv/bin/activate && export ORCH_HOME={HOME}
             orch status {name}; orch events {name}; orch checkpoints {name} --verify
Break it:    make quickstart in one terminal, kill -9 any of its processes in another."""


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
