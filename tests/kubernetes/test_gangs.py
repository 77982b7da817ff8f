"""A gang scheduler, that of scheduler-plugins: all pods of an attempt start, or none, and who waits is told so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import Make
from tests.kubernetes.lab import KubeLab
from tests.kubernetes.seats import RESOURCE, seats

SEATS = {"node-1": 2, "node-2": 1}  # room for one job of a pod on each, and for half of another
LONG = "import time; time.sleep(600)"


@pytest.fixture
def gangs(kube_bed: Cluster) -> Iterator[None]:
    for node, count in SEATS.items():
        kube_bed.set_capacity(node, {RESOURCE: count})
    kube_bed.start_gangs()
    yield
    kube_bed.stop_gangs()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.full) for kind in ("jobset", "pytorchjob")])
def test_a_gang_that_does_not_fit_holds_nothing(make_lab: Make, gangs: None, kind: str) -> None:
    lab = make_lab(kind, overlay=seats(kind), gang="coscheduling")
    first = lab.submit(both(lab, "first", LONG))
    lab.until(lambda: len(placed(lab, first)) == 2, hint="the first job has a pod on each node")

    lab.profile(overlay=seats(kind))
    half = lab.submit(both(lab, "half", LONG))
    lab.until(lambda: len(placed(lab, half)) == 1 and len(refused(lab, half)) == 1, hint="half a job holds a seat")
    lab.orch("cancel", half, "--now")
    lab.until_phase(half, "cancelled")
    lab.until(lambda: not lab.pods(half), hint="the seat is free")

    lab.profile(overlay=seats(kind), gang="coscheduling")
    second = lab.submit(both(lab, "second", "print('done')"))
    lab.until(lambda: len(refused(lab, second)) == 2, hint="both pods have been looked at")
    assert lab.until_told(second, "it cannot be scheduled")["phase"] == "queued"
    assert placed(lab, second) == []

    lab.orch("cancel", first, "--now")
    lab.finish(second)
    assert lab.status(second)["attempt"] == 1


def both(lab: KubeLab, name: str, text: str) -> Path:
    """A job of two pods."""
    return lab.script(name, text, resources={"nodes": 2, "gpus_per_node": 1})


def placed(lab: KubeLab, run: str) -> list[str]:
    """Nodes that pods of a run are bound to."""
    return [pod["spec"]["nodeName"] for pod in lab.pods(run) if "nodeName" in pod["spec"]]


def refused(lab: KubeLab, run: str) -> list[dict[str, Any]]:
    """Pods of a run that a scheduler has found no place for."""
    return [
        pod
        for pod in lab.pods(run)
        for one in pod["status"].get("conditions", ())
        if (one["type"], one["status"]) == ("PodScheduled", "False")
    ]
