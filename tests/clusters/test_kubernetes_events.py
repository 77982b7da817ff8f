"""Which warnings and workloads belong to which attempt, where there are many."""

from __future__ import annotations

import pytest

from orchestrator.clusters.kubernetes import events
from orchestrator.clusters.kubernetes.answers import Event, OwnerReference, Workload


def warning(about: str, message: str, at: str = "2026-11-26T10:00:00Z", reason: str = "FailedCreate") -> Event:
    return Event(about=about, reason=reason, message=message, last=at)


@pytest.mark.parametrize("about", ["orch-a-1", "orch-a-1-node-0", "orch-a-1-master-0", "orch-a-1-worker-2-x"])
def test_a_warning_about_a_job_or_what_was_made_for_it_is_the_jobs(about: str) -> None:
    found = events.by_name(
        [warning(about, "no"), warning("orch-a-10-node-0", "of another"), warning("orch-a", "of none")]
    )
    trouble = events.trouble_of(found["orch-a-1"], missing=True)
    assert trouble is not None
    assert trouble.message == "its pods cannot be made: no"


def test_the_newest_warning_tells() -> None:
    both = [warning("orch-a-1", "new", "2026-11-26T11:00:00Z"), warning("orch-a-1-node-0", "old")]
    trouble = events.trouble_of(events.by_name(both)["orch-a-1"], missing=True)
    assert trouble is not None
    assert trouble.message.endswith("new")


def test_why_pods_could_not_be_made_is_over_when_they_are_there() -> None:
    mount = warning("orch-a-1-node-0", "no such volume", "2026-11-26T09:00:00Z", "FailedMount")
    told = [warning("orch-a-1", "violates PodSecurity"), mount]
    trouble = events.trouble_of(told, missing=False)
    assert trouble is not None
    assert (trouble.message, trouble.stuck) == ("FailedMount: no such volume", False)
    assert events.trouble_of(told[:1], missing=False) is None


@pytest.mark.parametrize(
    "message",
    [
        'Internal error occurred: failed calling webhook "vpod.kb.io": connect: connection refused',
        "etcdserver: request timed out",
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
    ],
)
def test_a_server_that_could_not_make_pods_just_then_is_no_reason_to_give_up(message: str) -> None:
    trouble = events.trouble_of([warning("orch-a-1", message)], missing=True)
    assert trouble is not None
    assert message in trouble.message
    assert not trouble.stuck


def test_a_run_whose_name_looks_like_a_pods_still_gets_its_warnings() -> None:
    found = events.by_name([warning("orch-my-node-0-1-node-0", "no")])
    assert "orch-my-node-0-1" in found


def test_a_workload_is_found_by_the_job_that_owns_it() -> None:
    workloads = [Workload(name=f"w{number}", owners=(OwnerReference(uid=f"u{number}"),)) for number in (1, 2)]
    found = events.by_owner(workloads)
    assert events.kueue_of(found.get("u2"), {"w1": 5, "w2": 0}).startswith("it waits in Kueue's queue , place 1")
    assert events.kueue_of(found.get("u3"), {}) == "Kueue has not taken it yet: is its queue there?"
