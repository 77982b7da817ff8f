"""How far logs of pods are read, from a server that gives of a log what it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clusters.kubernetes.api import Api, Query
from orchestrator.clusters.kubernetes.backend import SILENT_PODS, _Attempt
from orchestrator.clusters.kubernetes.logs import BYTES, LAST_BYTES, PodLogs
from orchestrator.clusters.kubernetes.pods import Pod
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.job.protocol.pod import LastRecord
from orchestrator.model.run import Cause, Report

POD = Pod(
    name="p-0", uid="aaaaaaaa-1", number=0, attempt=1, run_id="r", node="n", phase="Running",
    created="2026-11-26T10:00:00Z", running=True, logged=True,
)  # fmt: skip


class Kubelet(Api):
    """One log: whole seconds are how exactly one can ask, and the answer is cut where it gets too long."""

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__("k8s", KubernetesProfile(kind="kubernetes", namespace="train"))
        self.lines_of_log = lines
        self.asked = 0

    def core(self, plural: str, name: str = "") -> str:
        return f"{plural}/{name}"

    def log(self, path: str, query: Query) -> bytes:
        self.asked += 1
        asked = dict(query)
        since = asked.get("sinceTime", "").rstrip("Z").encode()
        content = b"".join(line + b"\n" for line in self.lines_of_log if line[:19] >= since)
        return content[: int(asked["limitBytes"])]


def line(second: int, number: int, size: int = 1000) -> bytes:
    return f"2026-11-26T10:{second // 60:02d}:{second % 60:02d}.{number:09d}Z {number} ".encode() + b"x" * size


def logs(kubelet: Kubelet, home: Path) -> PodLogs:
    return PodLogs(kubelet, home, clock=lambda: 0.0)


def kept(made: PodLogs, pod: Pod) -> list[bytes]:
    return made.store.file(pod).read_bytes().split(b"\n")[:-1]


def test_a_log_that_is_longer_than_one_read_is_kept_to_its_end(tmp_path: Path) -> None:
    kubelet = Kubelet([line(number // 100, number) for number in range(LAST_BYTES // 1000 * 3 // 2)])
    made, ended = logs(kubelet, tmp_path), replace(POD, running=False, phase="Failed")
    for _ in range(4):
        made.keep_all([ended])
    assert kept(made, ended) == kubelet.lines_of_log
    asked = kubelet.asked
    made.keep_all([ended])
    assert kubelet.asked == asked, "all of it is there"


@pytest.mark.parametrize("size", [1000, 3 * BYTES])
def test_more_than_a_read_within_one_second_does_not_stand_in_the_way(tmp_path: Path, size: int) -> None:
    count = 5 * BYTES // size + 2
    kubelet = Kubelet([*(line(1, number, size) for number in range(count)), line(2, count)])
    made = logs(kubelet, tmp_path)
    for _ in range(10):
        made.keep([POD], lambda: None, read=True)
    assert kept(made, POD) == kubelet.lines_of_log


def test_nobody_waits_for_the_log_of_a_pod_on_a_dead_node(tmp_path: Path) -> None:
    kubelet = Kubelet([line(1, 1)])
    made, lost = logs(kubelet, tmp_path), replace(POD, leaving=True, lost=True)
    made.keep([lost], lambda: None, read=True)
    made.keep_all([lost])
    assert (kubelet.asked, made.unread(1, [lost])) == (0, 0.0)


def dead(number: int, **changes: object) -> Pod:
    plain = {"uid": f"u{number}", "running": False, "phase": "Failed", "because": "OOMKilled"}
    return replace(POD, **{**plain, **changes})


def test_an_agent_that_never_gets_to_say_a_word_cannot_start() -> None:
    seen = _Attempt()
    for number in range(SILENT_PODS):
        assert seen.cannot_start(None, 1) == ""
        seen.see([dead(number), dead(number)], 1)
    assert "OOMKilled" in seen.cannot_start(None, 1)
    assert seen.cannot_start(Report(attempt=1), 1) == "", "it has begun since, or before"
    seen.see([dead(9, last_record=LastRecord(node=0, attempt=1))], 1)
    assert seen.cannot_start(None, 1) == ""


def test_pods_that_had_to_make_room_say_nothing_of_what_they_run() -> None:
    seen = _Attempt()
    seen.see([dead(number, ended_by=Cause.PREEMPTED) for number in range(SILENT_PODS)], 1)
    assert seen.cannot_start(None, 1) == ""
