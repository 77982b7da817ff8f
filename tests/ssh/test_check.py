"""`orch clusters check` on real ssh hosts: each is named with what it lacks; a directory that is not shared is seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.clusters.checkup import check
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kind import Place
from orchestrator.model.cluster import Profile
from testbeds.ssh.hosts import Bed


def levels(profile: Profile, home: Path) -> dict[str, tuple[str, str]]:
    found = check(Place(name="lab", profile=profile, home=home, interactive=False))
    return {one.what: (one.level, one.found) for one in found.findings}


def test_every_host_is_asked_and_what_is_wrong_is_named(make_bed: Callable[[int], Bed], tmp_path: Path) -> None:
    bed = make_bed(3)
    good = SshProfile(
        kind="ssh",
        hosts=("gpu1", "gpu2"),
        shared_dir=str(bed.shared),
        python=sys.executable,
        ssh_config=str(bed.config),
        device="cpu",
    )
    found = levels(good, tmp_path)
    assert {level for level, _ in found.values()} == {"ok"}, found
    assert found["gpu2"] == ("ok", "answers as gpu2")
    assert found["shared directory"] == ("ok", f"{bed.shared} is one on 2 hosts, and can be written to")
    assert "gpu1 torch" in found
    assert list(bed.shared.iterdir()) == []

    stranger = bed.alias("stranger", "gpu3", IdentityFile=f"{bed.root}/stranger")
    refused = levels(replace(good, hosts=("gpu1", stranger)), tmp_path)
    assert refused["gpu1"][0] == "ok"
    assert refused[stranger][0] == "problem"
    assert "Permission denied" in refused[stranger][1]

    # /run is each host's own.
    assert levels(replace(good, shared_dir="/run"), tmp_path)["shared directory"] == (
        "problem",
        "/run is not the same on gpu1, gpu2",
    )
    assert levels(replace(good, shared_dir="/proc/nowhere"), tmp_path)["shared directory"][0] == "problem"
    assert levels(replace(good, python="/bin/false"), tmp_path)["gpu1"][0] == "problem"

    bed["gpu3"].power_off()
    gone = levels(replace(good, hosts=("gpu1", bed.alias("off", "gpu3"))), tmp_path)
    assert gone["off"][0] == "problem"
    assert gone["shared directory"] == ("ok", f"{bed.shared} is one on 1 hosts, and can be written to")


def test_a_list_of_no_hosts_and_a_hostfile_with_a_mistake_are_told(tmp_path: Path) -> None:
    assert levels(SshProfile(kind="ssh"), tmp_path)["hosts"] == ("problem", "lab has none")
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("gpu1 slots=2\ngpu2 slots=0\n")
    level, words = levels(SshProfile(kind="ssh", hostfile=str(hostfile)), tmp_path)["hosts"]
    assert level == "problem"
    assert f"{hostfile}:2" in words
