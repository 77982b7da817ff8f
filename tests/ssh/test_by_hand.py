"""A rendered bundle on real hosts, started by `bash launch.sh`: no orch process takes part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.ssh.lab import SshLab

Labs = Callable[..., SshLab]

LONG = """
import time
while True:
    time.sleep(0.1)
"""


def rendered(lab: SshLab, script: str) -> Path:
    """The bundle of a script's job, where all hosts see it."""
    lab.orch("render", str(lab.script(script)), "-o", str(lab.bed.shared / "bundle"))
    return lab.bed.shared / "bundle"


def started(bundle: Path, **environment: str) -> subprocess.Popen[str]:
    """launch.sh, as a person starts it."""
    return subprocess.Popen(
        ["bash", str(bundle / "launch.sh")],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], *, seconds: float = 60) -> tuple[int, str]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def until_ranks(lab: SshLab) -> None:
    running = lambda: all(host.processes("-m orchestrator.job.agent.rank") for host in lab.bed.hosts)  # noqa: E731 - short
    lab.until(running, seconds=180, hint="ranks on every host")


def nobody_is_left(lab: SshLab) -> None:
    lab.until(lambda: not any(host.processes("orchestrator") for host in lab.bed.hosts), seconds=180)


def test_a_bundle_runs_on_two_hosts(make_lab: Labs) -> None:
    lab = make_lab(2)
    bundle = rendered(lab, "import os; print('rank', os.environ['RANK'], 'on', os.uname().nodename)")
    status, output = ended(started(bundle))
    assert status == 0, output
    root = lab.bed.shared / "runs/own/ckpt/generations/000001"
    said = "".join(log.read_text() for log in sorted(root.glob("logs/rank-*.log")))
    assert "rank 0 on gpu1" in said
    assert "rank 1 on gpu2" in said
    claim = json.loads((root.parent / "000001.json").read_text())
    assert claim["address"] == lab.bed["gpu1"].address, "as ssh's configuration says, not the name used there"


def test_a_signal_ends_the_agents_of_all_hosts(make_lab: Labs) -> None:
    lab = make_lab(2)
    process = started(rendered(lab, LONG))
    until_ranks(lab)
    process.send_signal(signal.SIGTERM)
    status, output = ended(process)
    assert status == 82, output
    nobody_is_left(lab)


def test_agents_end_when_the_script_is_killed(make_lab: Labs) -> None:
    lab = make_lab(2)
    process = started(rendered(lab, LONG))
    until_ranks(lab)
    process.kill()
    ended(process)
    nobody_is_left(lab)


def test_a_host_that_ssh_does_not_reach_is_named_and_nobody_waits_for_it(make_lab: Labs, tmp_path: Path) -> None:
    lab = make_lab(2)
    bundle = rendered(lab, LONG)
    lab.bed.alias("dead", "gpu2", Port="9")
    (tmp_path / "hosts").write_text("gpu1 slots=1\ndead slots=1\n")
    status, output = ended(started(bundle, ORCH_HOSTFILE=str(tmp_path / "hosts")))
    assert status == 84, output
    assert "orch: ssh to dead failed (node 1)" in output
    assert "Connection refused" in output
    nobody_is_left(lab)
