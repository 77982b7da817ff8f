"""The environment that a launcher and its ranks get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.job.agent import environment, hosts, job, launcher
from orchestrator.job.agent.codes import HOPELESS, Ended
from orchestrator.job.agent.options import parse
from orchestrator.job.protocol.files import SECRETS
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Claim

SYSTEM = "/usr/bin:/bin"


def _make(run_dir: Path, base: dict[str, str], **changes: Any) -> dict[str, str]:
    bundle = run_dir / "bundle"
    bundle.mkdir()
    raw = {"format": 1, "name": "toy", "run_id": "id", "nodes": 1, "ranks_per_node": 1, "max_failures": 1}
    (bundle / "job.json").write_text(json.dumps({**raw, "checkpoint_dir": "ckpt", **changes}))
    options = parse(
        ["--bundle", str(bundle), "--run-dir", str(run_dir), "--node", "0", "--attempt", "1", "--start", "s"]
    )
    claim = Claim(1, "toy", "id", 1, "s", nodes=1, address="127.0.0.1", port=1, time=0.0)
    return environment.make(job.load(bundle, run_dir), options, claim, base=base, secrets={}, cpu=True)


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A real virtual environment with a ninja of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    ninja = tmp_path / "venv" / "bin" / "ninja"
    ninja.write_text("#!/bin/sh\n")
    ninja.chmod(0o755)
    return tmp_path / "venv" / "bin" / "python"


def test_what_is_installed_beside_the_interpreter_of_the_job_is_found(tmp_path: Path, interpreter: Path) -> None:
    made = _make(tmp_path, {"PATH": SYSTEM}, python=str(interpreter))
    assert made["PATH"] == f"{interpreter.parent}:{SYSTEM}"
    assert shutil.which("ninja", path=made["PATH"]) == str(interpreter.with_name("ninja"))


def test_without_one_it_is_the_interpreter_of_the_agent(tmp_path: Path) -> None:
    assert _make(tmp_path, {"PATH": SYSTEM})["PATH"] == f"{Path(sys.executable).parent}:{SYSTEM}"


def test_a_path_of_the_job_is_kept_behind_it(tmp_path: Path, interpreter: Path) -> None:
    made = _make(tmp_path, {"PATH": SYSTEM}, python=str(interpreter), env={"PATH": "/opt/cuda/bin"})
    assert made["PATH"] == f"{interpreter.parent}:/opt/cuda/bin"


def test_modules_of_the_job_and_of_the_machine_are_found_behind_orchs_own(tmp_path: Path) -> None:
    base = {"PYTHONPATH": "/opt/image:/opt/other", "PATH": SYSTEM}
    library, *others = _make(tmp_path, base, env={"PYTHONPATH": "/opt/mine:/opt/image:"})["PYTHONPATH"].split(":")
    assert library.endswith("/lib.zip")
    assert others == ["/opt/mine", "/opt/image", "/opt/other"]


def test_a_directory_that_is_on_the_path_stays_where_it_is(tmp_path: Path, interpreter: Path) -> None:
    path = f"/opt/gcc/bin:{interpreter.parent}:{SYSTEM}"
    assert _make(tmp_path, {"PATH": path}, python="python")["PATH"] == path


def _job(run_dir: Path, secrets: dict[str, Any]) -> JobFile:
    raw = {"format": 1, "name": "toy", "run_id": "id", "nodes": 1, "ranks_per_node": 1, "max_failures": 1}
    (run_dir / "job.json").write_text(json.dumps({**raw, "checkpoint_dir": "ckpt", "secrets": secrets}))
    return job.load(run_dir, run_dir)


def test_secrets_that_were_handed_over_come_before_those_of_the_environment(tmp_path: Path) -> None:
    wanted = _job(tmp_path, {"A": {"env": "MINE_A"}, "B": {"env": "MINE_B"}, "C": {"kubernetes": "s/c"}})
    environ = {"MINE_A": "stale", "MINE_B": "b", "C": "c"}
    handed_over = tmp_path / SECRETS
    handed_over.write_text(json.dumps({"A": "a", "C": "not of kind env"}))
    assert environment.read_secrets(wanted, environ, handed_over) == {"A": "a", "B": "b", "C": "c"}
    handed_over.unlink()
    assert environment.read_secrets(wanted, environ, handed_over)["A"] == "stale"


def test_a_secret_that_is_nowhere_is_named_with_the_node(tmp_path: Path) -> None:
    wanted = _job(tmp_path, {"A": {"env": "MINE_A"}})
    with pytest.raises(Ended, match=r"Missing on .+: A \(environment variable MINE_A is not set\)") as ended:
        environment.read_secrets(wanted, {}, tmp_path / SECRETS)
    assert (ended.value.code, ended.value.cause) == (HOPELESS, "secret_missing")


def test_a_node_has_the_name_under_which_its_cluster_knows_it(tmp_path: Path) -> None:
    assert hosts.here({"SLURMD_NODENAME": "gn01"}) == "gn01"
    assert hosts.here({"SLURMD_NODENAME": "login", "ORCH_HOST": "10.0.0.2"}) == "10.0.0.2"
    assert hosts.here({}) == os.uname().nodename
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("# two nodes\ngn01 slots=8\n\ngn02 slots=8  # the other\n")
    assert [hosts.name_of(node, {"ORCH_HOSTFILE": str(hostfile)}) for node in range(3)] == ["gn01", "gn02", None]
    assert hosts.name_of(0, {"ORCH_HOSTFILE": str(tmp_path / "none")}) is None
    assert hosts.name_of(0, {}) is None


def test_ranks_meet_at_a_port_that_no_outgoing_connection_takes() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if first <= 20_000:
        pytest.skip("this kernel gives all ports to outgoing connections")
    ports = {launcher.free_port() for _ in range(20)}
    assert len(ports) > 1, "jobs on one node choose different ones"
    assert all(20_000 <= port < first for port in ports)
