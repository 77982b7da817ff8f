"""A Slurm cluster that is reached through ssh: its commands and its shared directory are on the other side."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.clusters import open_backend
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.clusters.transport import SshTransport
from orchestrator.errors import Unreachable
from orchestrator.model.run import Cause, Phase
from testbeds.slurm.cluster import Cluster
from testbeds.ssh import hosts
from tests.clusters.conftest import GIB, SlurmPlace
from tests.clusters.test_contract import LONG, METRICS


@pytest.fixture
def ssh_config(slurm_cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A configuration of ssh with the host `login`: a real sshd on loopback, whose sessions know the cluster."""
    reason = hosts.missing()
    if reason is not None:
        pytest.skip(reason)
    for name in ("key", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {tmp_path}/host", "PermitRootLogin yes"]
    daemon += [f"AuthorizedKeysFile {tmp_path}/key.pub", "StrictModes no", "UsePAM no", "PidFile none"]
    daemon += [f"SetEnv SLURM_CONF={slurm_cluster.conf}"]
    (tmp_path / "sshd.conf").write_text("\n".join([*daemon, ""]))
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    client = ["Host login", "HostName 127.0.0.1", f"Port {port}", "User root", f"IdentityFile {tmp_path}/key"]
    client += ["IdentitiesOnly yes", f"UserKnownHostsFile {tmp_path}/known"]
    config = tmp_path / "ssh.conf"
    config.write_text("\n".join([*client, ""]))
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([hosts.SSHD, "-D", "-e", "-f", tmp_path / "sshd.conf"], stderr=subprocess.DEVNULL) as sshd:
        end = time.monotonic() + 10
        while not _listens(port):
            assert time.monotonic() < end, "sshd does not listen"
            time.sleep(0.05)
        yield config
        SshTransport("login", config=str(config)).close()
        sshd.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def place(slurm_cluster: Cluster, ssh_config: Path, tmp_path: Path) -> Iterator[SlurmPlace]:
    shared = slurm_cluster.directory("login")
    profile = SlurmProfile(
        kind="slurm",
        login="login",
        ssh_config=str(ssh_config),
        shared_dir=str(shared),
        python=sys.executable,
        device="cpu",
        memory=GIB,
        poll=0.2,
    )
    yield SlurmPlace(open_backend("hpc", profile, tmp_path), tmp_path)
    slurm_cluster.heal()


def test_an_attempt_is_submitted_watched_and_read_through_ssh(place: SlurmPlace) -> None:
    submission, bundle = place.attempt(METRICS)
    place.backend.ready()
    handle = place.backend.submit(submission, bundle, {})
    assert place.backend.submit(submission, bundle, {}) == handle
    submission = dataclasses.replace(submission, handle=handle)
    steps: list[int] = []
    mark = None
    while not (seen := place.see(submission, metrics=True, mark=mark)).phase.ended:
        if seen.metrics is not None:
            steps.extend(line.step for line in seen.metrics.lines)
            mark = seen.metrics.mark
        time.sleep(0.1)
    steps.extend(line.step for line in (seen.metrics.lines if seen.metrics else ()))
    assert (seen.phase, seen.cause, seen.raw.split()[1]) == (Phase.SUCCEEDED, Cause.COMPLETED, handle)
    assert steps == [1, 2, 3, 4, 5]


def test_a_cancel_goes_through_ssh(place: SlurmPlace) -> None:
    submission, bundle = place.attempt(LONG)
    submission = dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {}))
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    place.backend.cancel(submission, now=False)
    seen = place.until(submission, lambda seen: seen.phase.ended)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.ASKED_TO_STOP)


def test_a_login_node_that_does_not_answer_is_unreachable(place: SlurmPlace, ssh_config: Path) -> None:
    submission, bundle = place.attempt(LONG)
    ssh_config.write_text(ssh_config.read_text().replace("Host login", "Host another"))
    with pytest.raises(Unreachable):
        place.backend.submit(submission, bundle, {})
