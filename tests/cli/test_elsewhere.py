"""`orch logs` and `orch checkpoints` of a run whose files only another machine sees, over real ssh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbeds.ssh import hosts
from tests.cli.program import orch, record, start
from tests.job.checkpoints import history

LONG = "x" * 1023


@pytest.fixture(scope="module")
def bed() -> Iterator[hosts.Bed]:
    if (why := hosts.missing()) is not None:
        pytest.skip(why)
    made = hosts.Bed(1)
    yield made
    made.close()


class Elsewhere:
    """The run `tiny` below a directory that is empty here and not on the host `gpu1`."""

    def __init__(self, bed: hosts.Bed, home: Path, base: Path) -> None:
        self.seen_there, self.real = base / "shared", base / "real"
        self.seen_there.mkdir()
        self.run_dir = self.real / "runs" / "tiny"
        (self.run_dir / "attempts/000001").mkdir(parents=True)
        bed["gpu1"].enter("mount", "--bind", str(self.real), str(self.seen_there))
        named = self.seen_there / "runs" / "tiny"
        self.config = base / "config.yaml"
        profile = {"kind": "ssh", "hosts": ["gpu1"], "shared_dir": str(self.seen_there), "ssh_config": str(bed.config)}
        self.config.write_text(json.dumps({"controller": "external", "clusters": {"lab": profile}}))
        paths = {"dir": str(named), "checkpoint_dir": str(named / "ckpt")}
        self.store = record(home, "tiny", ("running", {}), cluster="lab", **paths)

    def logs(self) -> Path:
        """The directory of logs of a new generation."""
        made = history.claim(self.run_dir / "ckpt")
        return self.run_dir / "ckpt" / "generations" / f"{made.generation:06d}" / "logs"


@pytest.fixture
def elsewhere(bed: hosts.Bed, orch_home: Path, tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(bed, orch_home, tmp_path)
    yield made
    made.store.close()
    bed["gpu1"].enter("umount", str(made.seen_there))


def test_logs_are_read_there_and_come_whole(elsewhere: Elsewhere) -> None:
    (elsewhere.run_dir / "attempts/000001/agent-0.log").write_text("up\n")
    logs = elsewhere.logs()
    (logs / "rank-0.log").write_text("".join(f"{number} {LONG}\n" for number in range(6000)))
    (logs / "rank-1.log").write_text("café\nnot ended")
    shown = orch("logs", "tiny", ORCH_CONFIG=str(elsewhere.config))
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "[agent 0] up"
    assert [int(line.split()[2]) for line in lines[1:6001]] == list(range(6000)), "in more than one answer"
    assert lines[6001:] == ["[rank 1] café", "[rank 1] not ended"]


def test_logs_are_followed_there_until_the_run_ends(elsewhere: Elsewhere) -> None:
    logs = elsewhere.logs()
    (logs / "rank-0.log").write_text("one\nhal")
    program = start("logs", "tiny", "-f", ORCH_CONFIG=str(elsewhere.config))
    assert program.stdout is not None
    assert program.stdout.readline() == "[rank 0] one\n"
    with (logs / "rank-0.log").open("a") as file:
        file.write("f\nlast")
    elsewhere.store.record("tiny", "succeeded", {"cause": "completed"})
    rest, talk = program.communicate(timeout=60)
    assert (program.returncode, rest) == (0, "[rank 0] half\n[rank 0] last\n")
    assert talk.splitlines()[-1] == "tiny succeeded"


def test_checkpoints_are_verified_there(elsewhere: Elsewhere) -> None:
    elsewhere.logs()
    root = elsewhere.run_dir / "ckpt"
    history.commit(root, 1, 10)
    (history.commit(root, 1, 20) / "latest").write_text("short")
    shown = orch("checkpoints", "tiny", "--verify", "--json", ORCH_CONFIG=str(elsewhere.config))
    assert shown.returncode == 0, shown.stderr
    listed = [(one["step"], one["proven"]) for one in json.loads(shown.stdout)]
    assert listed == [(20, False), (10, True)]
    path = json.loads(shown.stdout)[1]["path"]
    assert path == f"{elsewhere.seen_there}/runs/tiny/ckpt/generations/000001/checkpoints/checkpoint-10"
    assert not Path(path).exists()


def test_a_cluster_that_cannot_be_reached_is_named(elsewhere: Elsewhere) -> None:
    config = json.loads(elsewhere.config.read_text())
    config["clusters"]["lab"]["hosts"] = ["nowhere"]
    elsewhere.config.write_text(json.dumps(config))
    shown = orch("logs", "tiny", ORCH_CONFIG=str(elsewhere.config))
    assert shown.returncode == 4
    assert "nowhere" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_files_that_this_machine_sees_need_no_cluster(orch_home: Path) -> None:
    record(orch_home, "tiny", cluster="one that left the configuration").close()
    directory = orch_home / "runs" / "tiny" / "attempts" / "000001"
    directory.mkdir(parents=True)
    (directory / "job-4711.log").write_text("orch: no bundle\n[agent 0 12:00:00] up\n[rank 0] loss 1\n")
    assert orch("logs", "tiny").stdout == "[job 4711] orch: no bundle\n[agent 0 12:00:00] up\n"
