"""How often a cluster is asked does not grow with the number of runs on it, but for the pages of long lists."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.clusters.kubernetes.api import PAGE, Api, Query
from orchestrator.clusters.kubernetes.backend import CALM, READS, KubernetesBackend
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.model.run import Observation, Phase, Question, Submission
from orchestrator.runs.submit import submit_runs
from orchestrator.store import open_store
from testbeds.kubernetes.access import TEST_LABEL
from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import Make
from tests.kubernetes.inprocess import prepared, suspended
from tests.kubernetes.lab import KINDS, PLURALS, KubeLab

full = pytest.mark.full
LOOKS = 5
FEW = 3
SCRIPT = "print('none of it ever runs')"
# What orch asks for; others ask too, of the same server.
RESOURCES = frozenset(
    {"pods", "events", "configmaps", "nodes", "workloads", "persistentvolumeclaims", *PLURALS.values()}
)
Counts = Counter[tuple[str, str]]


class Clock:
    """A backend's own, so that nothing of it depends on how fast this machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Reading(Api):
    """Notes whose logs are read."""

    def __init__(self, name: str, profile: KubernetesProfile) -> None:
        super().__init__(name, profile)
        self.read: list[str] = []

    def log(self, path: str, query: Query) -> bytes:
        self.read.append(path)
        return super().log(path, query)


class Many:
    """Runs of one backend, all of which wait."""

    def __init__(self, lab: KubeLab) -> None:
        self.lab = lab
        profile = json.loads(lab.config.read_text())["clusters"]["k8s"]
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in profile.items()}
        self.api = Reading("k8s", KubernetesProfile(**given))
        self.backend = KubernetesBackend("k8s", KubernetesProfile(**given), lab.home, api=self.api, clock=Clock())
        self.backend.ready()
        self.submissions: list[Submission] = []

    def submit(self, count: int) -> None:
        """So many more."""
        one = prepared(self.lab.script("many", SCRIPT), self.backend)
        first = len(self.submissions)
        jobs = [
            replace(prepared(self.lab.jobs / "many.yaml", self.backend, f"many-{number}"))
            for number in range(first, first + count)
        ]
        assert one.bundle.files
        with open_store(self.lab.home) as store:
            runs = submit_runs(store, self.backend, jobs, {})
        self.submissions += [run.submission for run in runs if run.submission is not None]
        assert len(self.submissions) == first + count

    def look(self) -> dict[str, Observation]:
        return dict(self.backend.observe([Question(submission=one) for one in self.submissions]))

    def asked(self) -> Counts:
        """Requests of several looks, as the API server has counted them, less what others ask for meanwhile."""
        self.look()  # the second look begins a watch, which goes on for minutes
        self.look()
        before = self.lab.cluster.request_counts()
        for _ in range(LOOKS):
            self.look()
        found = self.lab.cluster.request_counts() - before
        return Counts({key: count for key, count in found.items() if key[1] in RESOURCES})


def least(measure: list[Counts]) -> dict[tuple[str, str], int]:
    """Operators and this machine's other tests only ever add to what is counted."""
    keys = set.intersection(*(set(one) for one in measure))
    return {key: min(one[key] for one in measure) for key in keys}


def reads(many: Many) -> dict[tuple[str, str], int]:
    left = ("namespaces", "-l", f"{TEST_LABEL}=true", "--field-selector=status.phase=Terminating")
    many.lab.until(lambda: not many.lab.cluster.items(*left), hint="no namespace is being emptied: that asks, too")
    found = least([many.asked() for _ in range(3)])
    return {key: count for key, count in found.items() if key[0] in {"GET", "LIST"}}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["jobset", *(pytest.param(kind, marks=full) for kind in KINDS if kind != "jobset")])
@pytest.mark.parametrize("count", [24, pytest.param(60, marks=full), pytest.param(300, marks=full)])
def test_a_cluster_is_asked_as_often_for_many_runs_as_for_few(make_lab: Make, kind: str, count: int) -> None:
    many = Many(make_lab(kind, overlay=suspended(kind)))
    many.submit(FEW)
    assert {one.phase for one in many.look().values()} == {Phase.QUEUED}
    few = reads(many)
    assert few == {("LIST", PLURALS[kind]): LOOKS, ("LIST", "pods"): LOOKS, ("LIST", "events"): LOOKS}
    assert many.backend.pace == CALM, "nothing has changed"
    many.submit(count - FEW)
    many.lab.until(lambda: {one.phase for one in many.look().values()} == {Phase.QUEUED}, hint="all of them wait")
    pages = -(-count // PAGE)
    assert {key: asked for key, asked in reads(many).items() if key[1] != "events"} == {
        key: asked * pages for key, asked in few.items() if key[1] != "events"
    }


@pytest.mark.full
def test_runs_that_have_no_object_are_asked_for_together(make_lab: Make) -> None:
    """Those that wait to be tried again, and those whose object was deleted while their pods are still ending."""
    many = Many(make_lab("jobset", overlay=suspended("jobset")))
    many.submit(FEW)
    few = [replace(one, attempt=2, handle=None) for one in many.submissions]
    many.submissions = few
    before = reads(many)
    many.submissions = [replace(few[0], run=f"none-{number}", run_id=f"{number:012x}") for number in range(100)]
    assert {one.phase for one in many.look().values()} == {Phase.PENDING}
    assert reads(many) == before == {("LIST", "pods"): LOOKS, ("LIST", "configmaps"): LOOKS}


@full
def test_a_look_reads_no_more_logs_however_many_runs_train(make_lab: Make, kube_bed: Cluster) -> None:
    kube_bed.start_kwok(nodes=2)
    anywhere = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    many = Many(make_lab("jobset", node_selector={"type": "kwok"}, tolerations=anywhere))
    many.submit(READS + 20)
    running = ("pods", "-n", many.lab.space.name, "--field-selector=status.phase=Running")
    many.lab.until(lambda: len(kube_bed.items(*running)) == 2 * (READS + 20), hint="all pods seem to run")
    looks = []
    for _ in range(2):
        many.api.read.clear()
        many.look()
        looks.append(list(many.api.read))
    assert [len(read) for read in looks] == [READS, READS]
    assert len({*looks[0], *looks[1]}) == READS + 20, "those that have waited longest come first"
    kube_bed.stop_kwok()
