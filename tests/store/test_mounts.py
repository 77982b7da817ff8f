"""Which file systems are network ones, from the text of /proc/mounts."""

from __future__ import annotations

import pytest

from orchestrator.store.mounts import file_system, on_network

MOUNTS = r"""
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
mds:/lustre /scratch/my\040data lustre rw 0 0
/dev/sdb1 /data ext4 rw 0 0
nas:/data /data nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/orch", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/.local/state/orch", "nfs4", True),
        ("/home/me/scratch/orch", "tmpfs", False),
        ("/homes/me", "ext4", False),
        ("/scratch/my data/orch", "lustre", True),
        ("/data/orch", "nfs", True),
    ],
)
def test_the_longest_mount_point_decides_and_of_the_same_the_last(path: str, kind: str, *, network: bool) -> None:
    assert file_system(MOUNTS, path) == kind
    assert on_network(MOUNTS, path) is network


def test_no_mounts_are_no_network() -> None:
    assert not on_network("", "/home/me")
