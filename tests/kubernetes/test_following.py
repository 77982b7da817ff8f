"""Whoever follows a run has its lines as they are written, by a stream, once each, also past a server that left."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import INTERRUPTED
from orchestrator.system.paths import WATCHED
from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import Make
from tests.kubernetes.lab import KubeLab

TALKS = """\
import itertools, time
for number in itertools.count():
    print(f"line {number}", flush=True)
    time.sleep(0.2)
"""
_STREAMS = re.compile(r'^apiserver_longrunning_requests\{.*resource="pods".*subresource="log".*\} (\d+)$', re.MULTILINE)


@pytest.mark.full
def test_a_run_that_somebody_follows_is_streamed(make_lab: Make, kube_bed: Cluster) -> None:
    lab = make_lab("jobset", tolerations=None)  # the server is away for longer than the tests' own allow
    run = lab.submit(lab.script("talks", TALKS))
    lab.until(lambda: "line 3" in lab.orch("logs", run).stdout, hint="it talks")
    lab.until(lambda: streams(kube_bed) == 0, seconds=180, hint="nobody follows yet: node 0 is read now and then")

    follower, shown = start(lab, "logs", run, "-f")
    lab.until(lambda: streams(kube_bed) == 2, hint="a stream of each pod")
    kube_bed.kill_apiserver()
    kube_bed.start_apiserver()
    lab.until(lambda: streams(kube_bed) == 2, hint="a stream of each pod again")
    newest = numbers(shown, rank=0)[-1]
    lab.until(lambda: all(numbers(shown, rank)[-1] > newest + 20 for rank in (0, 1)), hint="lines of both ranks come")
    assert detached(follower) == INTERRUPTED
    for rank in (0, 1):
        found = numbers(shown, rank)
        assert found == list(range(len(found))), "every line once, in order"
    lab.until(lambda: streams(kube_bed) == 0, hint="no stream is left")

    waiter, _ = start(lab, "wait", run)
    lab.until((lab.home / "runs" / run / WATCHED).exists, hint="it waits")
    lab.until(lambda: streams(kube_bed) == 1, hint="the controller has a stream of node 0")
    assert detached(waiter) == INTERRUPTED
    lab.until(lambda: streams(kube_bed) == 0, hint="the controller reads at its own pace again")
    lab.orch("cancel", run, "--now")


def start(lab: KubeLab, *argv: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A command that goes on, and the file it writes to."""
    path = lab.root / f"{argv[0]}.txt"
    with path.open("wb") as file:
        command = [sys.executable, "-m", "orchestrator", *argv]
        return subprocess.Popen(command, env=lab.env, cwd=lab.jobs, stdout=file), path


def detached(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(30)


def numbers(path: Path, rank: int) -> list[int]:
    """Of the lines of a rank, as they were shown."""
    return [int(found) for found in re.findall(rf"^\[rank {rank}\] line (\d+)$", path.read_text(), re.MULTILINE)]


def streams(bed: Cluster) -> int:
    """Streams of logs that are open now, as the API server counts them; and a read of a log, while it is answered."""
    return sum(int(found) for found in _STREAMS.findall(bed.kubectl("get", "--raw", "/metrics")))
