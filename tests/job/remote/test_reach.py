"""What ssh brings back: an answer, a clear no, or nobody knows. Here a program stands where ssh is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.clusters.transport import RemoteBug, SshTransport
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.remote import wire
from orchestrator.job.remote.operations import Bug, Failure

# `ssh -G` answers that no connection is shared; anything else is what the test's own lines do.
SSH = """#!/usr/bin/env bash
for word; do [[ $word != -G ]] || { echo 'controlpath none'; exit; }; done
cat >/dev/null
"""
TRUE = RunCommand(("true",))
ANSWER = wire.reply([CommandResult(7)]).strip()


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def written(lines: str) -> SshTransport:
        program.write_text(SSH + lines)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return SshTransport("hpc")

    return written


@pytest.mark.parametrize(
    "lines",
    [
        f"echo '{ANSWER}'",
        f"echo 'Welcome'; printf '\\033]0;hpc\\007'; echo '{ANSWER}'; echo 'Bye'",
        f"printf '{wire.BEGUN.strip()}\\n%s' '{ANSWER}'",
        f"echo '{ANSWER}'; exit 3",
    ],
)
def test_an_answer_counts_whatever_stands_around_it(ssh, lines: str) -> None:
    assert ssh(lines).call(TRUE) == CommandResult(7)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("echo 'Connection refused' >&2; exit 255", "Connection refused"),
        ("kill -TERM $$", "exit status -15"),
        (f"echo '{wire.BEGUN.strip()}'; echo 'Connection to hpc closed' >&2; exit 1", "Connection to hpc closed"),
        (f"echo '{wire.BEGUN.strip()}'; echo '{ANSWER[:-9]}'; exit 1", "broke off"),
    ],
)
def test_where_nobody_knows_what_was_done_the_cluster_did_not_answer(ssh, lines: str, words: str) -> None:
    with pytest.raises(Unreachable, match=words):
        ssh(lines).call(TRUE)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("echo 'bash: python3: command not found' >&2; exit 127", "command not found"),
        ("echo 'SyntaxError: invalid syntax' >&2; exit 1", "SyntaxError"),
    ],
)
def test_a_python_that_never_began_is_named(ssh, lines: str, words: str) -> None:
    with pytest.raises(ClusterError, match=words) as error:
        ssh(lines).call(TRUE)
    assert not isinstance(error.value, Unreachable)


def test_a_full_disk_there_may_pass_and_a_path_that_is_no_directory_does_not(ssh) -> None:
    for passing, kind in ((True, Unreachable), (False, ClusterError)):
        answer = wire.reply([Failure("/shared: words", passing)]).strip()
        with pytest.raises(ClusterError, match="hpc: /shared: words") as error:
            ssh(f"echo '{answer}'").call(TRUE)
        assert type(error.value) is kind


def test_a_bug_on_the_other_side_is_told_as_a_bug_with_its_traceback(ssh) -> None:
    answer = wire.reply([Bug("Traceback (most recent call last):\n  there\nKeyError: 'twin'\n")]).strip()
    with pytest.raises(RemoteBug, match=r"KeyError: 'twin' \(on hpc\)\n.*\n  there"):
        ssh(f"echo '{answer}'").call(TRUE)


def test_a_machine_without_ssh_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no ssh on this machine"):
        SshTransport("nowhere").call(TRUE)
