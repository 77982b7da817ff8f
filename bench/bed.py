"""The Slurm of the tests with an ordinary user at work on it: where bench/slurm.py measures."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from testbeds.slurm.cluster import DAEMON_PATH, Cluster  # noqa: E402 - it lies beside bench/, not on the path of its scripts
from testbeds.slurm.layout import NODES  # noqa: E402 - likewise

PEERS = ROOT / "build" / "peers" / "bin"
ORCH = [sys.executable, "-m", "orchestrator"]
LIMIT = 900.0  # seconds that one measurement may take
# A job that is as small as the peers can have it, too: one node, one process.
_COMPONENT = """\
import torchx.specs as specs

def job() -> specs.AppDef:
    tiny = specs.Resource(cpu=1, gpu={gpu}, memMB=100)
    role = specs.Role(name="tiny", image="{image}", entrypoint="/bin/true", resource=tiny)
    return specs.AppDef(name="tiny", roles=[role])
"""


def lay_out(place: Path, cluster: str, profile: Mapping[str, Any], *, image: str, gpu: int) -> Path:
    """A configuration with one cluster, a tiny job, and the same for TorchX, with the image and GPUs of its own.

    The job's file.
    """
    (place / "code").mkdir()
    configuration = {"controller": "external", "default": cluster, "clusters": {cluster: profile}}
    job = {
        "name": "tiny", "code": "code", "run": "train.py", "resources": {"nodes": 1, "gpus_per_node": 1},
    }  # fmt: skip
    (place / "config.yaml").write_text(json.dumps(configuration))
    (place / "component.py").write_text(_COMPONENT.format(image=image, gpu=gpu))
    (place / "code" / "train.py").write_text("raise SystemExit(0)\n")
    file = place / "job.yaml"
    file.write_text(json.dumps(job))
    return file


class Bed:
    """One ORCH_HOME, one configuration with the cluster `hpc`, one job; `place` is seen by all nodes."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.place: Path = cluster.directory(name)
        self.home, self.shared = self.place / "home", self.place / "shared"
        self.environment: dict[str, str] = cluster.environment(
            {"ORCH_HOME": str(self.home), "ORCH_CONFIG": str(self.place / "config.yaml")}
        )
        for directory in (self.home, self.shared):
            directory.mkdir()
        profile = {"kind": "slurm", "partition": "low", "shared_dir": str(self.shared), "device": "cpu"}
        self.job = lay_out(self.place, "hpc", {**profile, "python": sys.executable}, image=str(self.place), gpu=1)
        for path in (self.place, *self.place.rglob("*")):
            cluster.own(path)

    def program(self, script: str, *arguments: str, peers: bool = False) -> Any:
        """What a script of bench/ prints as JSON, run by the user; `peers`: by the interpreter that has them."""
        python = str(PEERS / "python") if peers else sys.executable
        argv = [python, str(ROOT / "bench" / script), *arguments]
        done = self.cluster.run(*argv, env=self._own(), cwd=self.place, timeout=LIMIT)
        return json.loads(done.stdout.splitlines()[-1])

    @contextlib.contextmanager
    def controller(self) -> Iterator[None]:
        """`orch controller` for the runs of this bed."""
        with (self.place / "controller.log").open("ab") as log:
            argv = [*self.cluster.argv_prefix(self.place), *ORCH, "controller"]
            process = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def until_queued(self, runs: int) -> None:
        """Wait until the store has them all as queued."""
        started = time.monotonic()
        while self.phases().count("queued") < runs:
            if time.monotonic() - started > LIMIT:
                raise TimeoutError(f"{runs} runs are not queued; the controller's log is in {self.place}")
            time.sleep(1)

    def phases(self) -> list[str]:
        """Of all runs, as the store has them."""
        done = self.cluster.run(*ORCH, "status", "--json", env=self._own(), cwd=self.place)
        return [run["phase"] for run in json.loads(done.stdout)]

    def clear(self) -> None:
        """Take all waiting jobs out of the queue."""
        waiting = self.cluster.admin("squeue", "--noheader", "--states=PENDING", "--format=%A").split()
        if waiting:
            self.cluster.admin("scancel", *dict.fromkeys(waiting))
        end = time.monotonic() + 60
        while self.cluster.admin("squeue", "--noheader", "--states=PENDING", "--format=%A") and time.monotonic() < end:
            time.sleep(0.5)

    def counts(self) -> tuple[int, int]:
        """How often users asked slurmctld, and how often anybody looked jobs up in slurmdbd."""
        lookups = self.cluster.database_rpcs().get("DBD_GET_JOBS_COND", 0)
        return self.cluster.rpcs_of_user(), lookups

    def _own(self) -> dict[str, str]:
        own = ("ORCH_HOME", "ORCH_CONFIG")
        return {name: self.environment[name] for name in own}


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """The cluster, up and idle."""
    made = Cluster(ROOT)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def occupy(made: Cluster) -> None:
    """One job on all nodes: whatever is submitted after it waits."""
    whole = [f"--nodes={len(NODES)}", "--exclusive", "--partition=high", "--output=/dev/null", "--wrap=sleep 7200"]
    job = made.sbatch(*whole, cwd=made.root)
    end = time.monotonic() + 60
    while made.state(job) != "RUNNING" and time.monotonic() < end:
        time.sleep(0.2)


def versions() -> str:
    """Of what is measured."""
    asked = ["slurmctld", "-V"]
    slurm = subprocess.run(asked, env={"PATH": DAEMON_PATH}, capture_output=True, text=True, check=True).stdout
    listed = (ROOT / "bench" / "peers-requirements.txt").read_text()
    peers = re.findall(r"^(submitit|torchx)==(\S+)", listed, re.MULTILINE)
    return ", ".join([slurm.strip(), *(f"{name} {version}" for name, version in peers), f"{os.cpu_count()} cores"])


def command_lines(bed: Bed) -> dict[str, Sequence[str]]:
    """One submission by each; @ is a name that nothing had before."""
    torchx = [str(PEERS / "torchx"), "run", "--workspace=", "-s", "slurm", "-cfg", "partition=low"]
    script = [str(ROOT / "bench" / "with_submitit.py"), "one", str(bed.place / "submitit")]
    return {
        "nothing": [sys.executable, "-c", "pass"],
        "sbatch": ["sbatch", "--parsable", "--partition=low", "--gres=gpu:1", "--output=/dev/null", "--wrap=true"],
        "orch": [*ORCH, "submit", str(bed.job), "-c", "hpc", "--name", "@"],
        "torchx": [*torchx, "component.py:job"],
        "submitit": [str(PEERS / "python"), *script],
    }
