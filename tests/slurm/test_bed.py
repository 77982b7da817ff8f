"""The test bed itself: what a session that was killed has left is gone when the next one begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbeds.slurm.cluster import Cluster
from testbeds.slurm.layout import HOSTS, HOSTS_BEGIN

START = """
import time
from testbeds.slurm.cluster import Cluster
cluster = Cluster()
cluster.start()
cluster.sbatch("--wrap=sleep 300", "--output=/dev/null", cwd=cluster.directory("left"))
cluster.until(lambda: cluster.processes("sleep"))
print(cluster.root, flush=True)
time.sleep(300)
"""


@pytest.mark.full
def test_what_a_killed_session_left_is_swept_by_the_next(slurm_cluster: Cluster, pytestconfig: pytest.Config) -> None:
    """Beside the session's own bed, which is left alone."""
    before = HOSTS.read_text()
    with subprocess.Popen(
        [sys.executable, "-c", START], cwd=pytestconfig.rootpath, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout
        place = Path(session.stdout.readline().strip())
        session.kill()
    heir = Cluster()
    heir.root = place
    left = heir.processes()
    assert len(left) > 10, "daemons and a job outlive their session"
    try:
        heir.start()
        assert heir.root == place
        assert not set(left) & set(heir.processes()), "and none of them the next one"
        assert heir.jobs() == []
    finally:
        heir.stop()
    assert heir.processes() == []
    assert HOSTS.read_text() == before
    assert before.count(HOSTS_BEGIN) == 1, "the names of this session's nodes"
    assert slurm_cluster.idle() == 8
