"""Which file system a path lies on, from the text of /proc/mounts; SQLite's WAL does not work on a network one."""

from __future__ import annotations

NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs",
        "lustre", "ncpfs", "nfs", "nfs4", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "weka", "wekafs",
    }
)  # fmt: skip


def file_system(mounts: str, path: str) -> str:
    """The type of the file system that an absolute path lies on; "" when the text names none."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = _unescape(fields[1])
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):  # a later mount hides an earlier one of the same place
            best, kind = place, fields[2]
    return kind


def on_network(mounts: str, path: str) -> bool:
    """Whether an absolute path lies on a network file system."""
    return file_system(mounts, path) in NETWORK


def _unescape(place: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, character)
    return place
