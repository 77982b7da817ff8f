"""A disk that fills up in the middle of a save: the run goes on from the newest proven checkpoint."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.lab import Lab

pytestmark = pytest.mark.deepspeed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB that belongs to this test."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.full
def test_a_full_disk_does_not_cost_the_run(
    lab: Lab, undisturbed: Callable[..., dict[int, float]], small_disk: Path
) -> None:
    run = lab.submit(lab.job(checkpoint={"dir": str(small_disk), "every": 10, "keep": 3}))
    root = small_disk / "generations" / "000001"
    lab.until((root / "checkpoints" / "checkpoint-10" / "orch-commit.json").exists, hint="the first proven checkpoint")
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    with contextlib.suppress(OSError):  # the run may be quicker with its next checkpoint
        ballast.write_bytes(b"\0" * max(0, free - 400_000))
    lab.until((root / "outcome.json").exists, hint="generation 1 ends for want of room")
    assert '"disk_full"' in (root / "outcome.json").read_text()
    ballast.unlink()
    lab.finish(run)
    assert lab.losses(run) == undisturbed()
