"""Hostfiles: DeepSpeed's parser, ours, and the one of the rendered launch.sh, on the same files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.config import hostfile
from orchestrator.errors import JobError
from tests.rendering.build import bundle, nodes

GIVEN = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

ODD = ["", "#", "# gpu9 slots=8", "gpu1", "slots=4", "gpu1 slots=", "gpu1 slots=-1", "gpu1 slots=four", "gpu1 slots=0"]
ODD += ["gpu1 slots=4x", "gpu1 slots=4 slots=8", "gpu1 slots=4 max_slots=8", "gpu1 slots=4,8", "gpu1 slots=4 # eight"]
ODD += ["gpu1 slots=4#eight", "gpu1 slots=04", "gpu1 slots=1000000", "gpu1 slots=999999", "gpu1 slots=" + "9" * 5000]
ODD += [
    "gpu1 slots=٤",
    "gpu1\u00a0slots=4",
    "gpu1\fslots=4",
    "gpu1 slots=4\x0b",
    "\x0c",
    "\ufeffgpu1 slots=4",
    "gpü slots=4",
]
ODD += ["-oProxyCommand=true slots=4", "me@gpu1 slots=4", "fe80::1%eth0 slots=4", "gpu;1 slots=4", "$(id) slots=4"]
ODD += [
    "\tgpu1\t slots=4\t ",
    "gpu1 slots = 4",
    "gpu1  SLOTS=4",
    "gpu1 slots=4 \u00a0",
    "#\x0c",
    "gpu1 slots=0000000004",
    "gpu1:2222 slots=4",
    "me@gpu1:22 slots=4",
    "gpu1: slots=4",
    "gpu1:ssh slots=4",
    "fe80::1:22 slots=4",
    "you@gpu7 slots=1",
    "GPU8 slots=1",
    "gpu1 slots=4#",
    "gpu1 slots=4 \t#x#y",
    "gpu1#2 slots=4",
]
NAMES = st.sampled_from(["gpu1", "gpu2", "gpu3.lab", "10.0.0.1", "me@gpu4"])
GOOD = st.builds(
    "{}{}{}slots={}{}".format,
    st.sampled_from(["", " ", "\t"]),
    NAMES,
    st.sampled_from([" ", "\t", "   "]),
    st.integers(1, 64),
    st.sampled_from(["", " ", " # tail", "#tail", "\t"]),
)
LINES = st.lists(st.one_of(GOOD, GOOD, st.sampled_from(ODD)), max_size=5)
NEWLINES = st.sampled_from(["\n", "\n", "\r\n", "\r"])
TEXTS = st.builds(
    lambda lines, newline, last: newline.join(lines) + (newline if last else ""), LINES, NEWLINES, st.booleans()
)
CONTENTS = st.one_of(
    TEXTS.map(str.encode),
    TEXTS.map(lambda text: text.encode() + b"# \xff\xfe\n"),
    TEXTS.map(lambda text: text.encode() + b"\0"),
)


def ours(content: bytes) -> dict[str, int] | JobError:
    try:
        return {host.name: host.slots for host in hostfile.parse(content, "hosts")}
    except JobError as error:
        return error


@pytest.fixture(scope="module")
def deepspeeds(tmp_path_factory: pytest.TempPathFactory):
    runner = pytest.importorskip("deepspeed.launcher.runner")
    path = tmp_path_factory.mktemp("hostfile") / "hosts"

    def read(content: bytes) -> dict[str, int] | Exception:
        path.write_bytes(content)
        try:
            return dict(runner.fetch_hostfile(str(path)))
        except ValueError as error:
            return error

    return read


@given(content=CONTENTS)
@GIVEN
def test_what_is_accepted_means_the_same_to_deepspeed(deepspeeds, content):
    mine, theirs = ours(content), deepspeeds(content)
    if isinstance(mine, dict):
        assert mine == theirs
        assert list(mine) == list(theirs)
    elif not isinstance(theirs, Exception):
        # Refused here alone: for one of the reasons that DeepSpeed lets pass.
        reasons = (
            "slots=0",
            "wanted nothing after",
            "is not a host name that ssh takes",
            "digits",
            "has a port in its name",
            "stands here and in line",
            "wanted HOST",
            "NUL",
        )
        assert any(reason in mine.message for reason in reasons), mine


@given(lines=st.lists(GOOD, min_size=1, max_size=5), newline=NEWLINES)
@GIVEN
def test_an_ordinary_file_is_refused_only_for_what_deepspeed_refuses(deepspeeds, lines, newline):
    content = newline.join(lines).encode()
    assert isinstance(ours(content), dict) == isinstance(deepspeeds(content), dict)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"gpu1 slots=4\ngpu2\n", 2, "wanted HOST slots=N, found 'gpu2'"),
        (b"gpu1 slots=4\n\n# x\ngpu2 slots=0\n", 4, "gpu2 has slots=0"),
        (b"gpu1 slots=4\r\ngpu1 slots=4\r\n", 2, "gpu1 stands here and in line 1"),
        (b"gpu1 slots=4\nme@gpu1 slots=4\n", 2, "me@gpu1 stands here and in line 1 as gpu1"),
        (b"me@gpu1:2222 slots=4\n", 1, "me@gpu1:2222 has a port in its name, and ssh takes none there"),
        (b"gpu1 slots=4 max_slots=8\n", 1, "wanted nothing after slots=4, found 'max_slots=8'"),
        (b"gpu1 slots=" + b"9" * 5000, 1, "a number of slots with 5000 digits"),
        (b"gpu1 slots=4\n# caf\xe9\n", 2, "not UTF-8"),
        (b"gpu1 slots=4\ngpu2\0 slots=4\n", 2, "NUL"),
        (b"-oProxyCommand=reboot slots=4\n", 1, "is not a host name that ssh takes"),
        (b"# nobody\n\n", None, "names no host"),
        (b"", None, "names no host"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_to_write(content, line, message):
    error = ours(content)
    assert isinstance(error, JobError)
    assert (error.file, error.line) == ("hosts", line)
    assert message in error.message
    assert error.hint


@pytest.fixture(scope="module")
def launch_sh(tmp_path_factory: pytest.TempPathFactory):
    """launch.sh's own reader: the hosts that it would start an agent on, or what it printed. No ssh is called."""
    root = tmp_path_factory.mktemp("launch")
    for file in bundle("ssh", SshProfile(kind="ssh"), plan=nodes(1, ranks=1)).files:
        (root / "bundle" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / "bundle" / file.path).write_bytes(file.content)
    text = (root / "bundle/launch.sh").read_text()
    head, mark, _ = text.partition("\nread_hosts\n")
    assert mark
    tail = "\nprintf '%s\\n' \"${hosts[@]}\"\n"
    (root / "bundle/launch.sh").write_text(head + mark + tail)

    def read(content: bytes) -> list[str] | str:
        (root / "hosts").write_bytes(content)
        environment = {"PATH": os.environ["PATH"], "ORCH_HOSTFILE": str(root / "hosts")}
        done = subprocess.run(
            ["bash", str(root / "bundle/launch.sh")], env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout.split() if done.returncode == 0 else done.stderr

    return read


@given(content=CONTENTS)
@FEW
def test_the_script_reads_every_file_as_orch_reads_it(launch_sh, content):
    check_agreement(launch_sh, content)


@pytest.mark.parametrize("line", ODD, ids=lambda line: json.dumps(line)[:30])
def test_the_script_reads_every_odd_line_as_orch_reads_it(launch_sh, line):
    check_agreement(launch_sh, f"gpu7 slots=1\n{line}\ngpu8 slots=2".encode())


def check_agreement(launch_sh, content: bytes) -> None:
    mine, theirs = ours(content), launch_sh(content)
    if isinstance(mine, dict):
        assert list(mine) == theirs
    else:
        assert isinstance(theirs, str), (mine, theirs)
        whole_file = mine.line is None or "UTF-8" in mine.message or "NUL" in mine.message
        assert whole_file or f"hosts:{mine.line}: " in theirs


def test_a_file_that_names_too_few_big_hosts_names_the_small_ones(tmp_path: Path) -> None:
    for file in bundle("ssh", SshProfile(kind="ssh"), plan=nodes(2, ranks=4)).files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(file.content)
    (tmp_path / "hosts").write_text("gpu1 slots=2\ngpu2 slots=4\n")
    environment = {"PATH": os.environ["PATH"], "ORCH_HOSTFILE": str(tmp_path / "hosts")}
    done = subprocess.run(
        ["bash", str(tmp_path / "launch.sh")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 86
    assert "line 1: gpu1 has slots=2, the job needs 4" in done.stderr
