"""A laboratory on hosts of a bed: the real command on this machine, everything else behind real ssh."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbeds.ssh.hosts import Bed, Host
from tests.faults.lab import Lab, kill

CLUSTER = "lab"


class SshLab(Lab):
    """One ORCH_HOME, one job directory, and a configuration whose default cluster is the bed's hosts."""

    def __init__(self, root: Path, bed: Bed, **profile: Any) -> None:
        super().__init__(root)
        self.bed = bed
        operators = os.environ.get("TORCH_EXTENSIONS_DIR", f"{sys.prefix}/torch_extensions")
        values: dict[str, Any] = {
            "kind": "ssh",
            "hosts": list(bed.names),
            "ssh_config": str(bed.config),
            "shared_dir": str(bed.shared),
            "python": sys.executable,
            "device": "cpu",
            "env": {"TORCH_EXTENSIONS_DIR": operators, "HF_HUB_OFFLINE": "1"},
            **profile,
        }
        config = root / "config.yaml"
        known = {key: value for key, value in values.items() if value is not None}
        config.write_text(json.dumps({"default": CLUSTER, "clusters": {CLUSTER: known}}))
        self.env["ORCH_CONFIG"] = str(config)

    def job(self, name: str = "tiny", **changes: Any) -> Path:
        data = {"files": str(self.jobs / "text.txt"), "sequence_length": 64}
        return super().job(name, **{"data": data, **changes})

    def script(self, text: str, name: str = "own", **changes: Any) -> Path:
        """A job whose ranks run a script of a few lines."""
        code = self.jobs / name
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(text)
        nothing = dict.fromkeys(("model", "data", "training", "deepspeed"))
        return self.job(name, **nothing, code=name, run="train.py", checkpoint={"dir": "ckpt"}, **changes)

    def checkpoints(self, run: str) -> Path:
        return self.bed.shared / "runs" / run / "ckpt"

    def attempts(self, run: str) -> list[Path]:
        return sorted((self.bed.shared / "runs" / run / "attempts").glob("[0-9]*"))

    def hosts_of(self, run: str, attempt: int = 1) -> list[str]:
        """The names of the hosts that an attempt was given, by node."""
        chosen = json.loads((self.attempts(run)[attempt - 1] / "hosts.json").read_text())
        return [host["name"] for host in chosen["hosts"]]

    def host(self, run: str, node: int, attempt: int = 1) -> Host:
        return self.bed[self.hosts_of(run, attempt)[node]]

    def kill_here(self) -> None:
        """kill -9 of all that runs on this machine: the controller and the shared connections."""
        for pid, _ in list(super()._mine()):
            kill(pid)

    def story(self) -> str:
        globs = ("runs/*/attempts/*/agent-*.log", "runs/*/ckpt/generations/*/logs/*.log")
        logs = [path for glob in globs for path in sorted(self.bed.shared.glob(glob))]
        told = "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
        running = "\n".join(f"{host.name}: {line}" for host in self.bed.hosts for _, line in host.all())
        return f"{super().story()}\n{told}\n--- running\n{running}"

    def _mine(self) -> Iterator[tuple[int, str]]:
        yield from super()._mine()
        for host in self.bed.hosts:
            yield from host.all()
