"""Nodes are left out after failures in a row that name them, for a time, and never so many that a job cannot start."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import Cause, Event, Run
from orchestrator.policy import nodes
from orchestrator.policy.nodes import NodeRecord

HOUR = 3600.0
USUAL = BadNodes()
RUN = Run(
    name="a", run_id="1", cluster="hpc", spec_digest="", dir="", checkpoint_dir="", metrics="", submitted_at=0.0,
    generation=3,
)  # fmt: skip


def suspect(node: str, failures: int = 2, at: float = 0.0, **more: object) -> NodeRecord:
    return NodeRecord(cluster="hpc", node=node, failures=failures, at=at, **more)


names = st.sampled_from([f"gn{number:02d}" for number in range(12)])
node_records = st.lists(
    st.builds(
        suspect, names, st.integers(0, 4), st.floats(0, 100 * HOUR), held=st.booleans(), cause=st.sampled_from(Cause)
    ),
    max_size=16,
)


@given(node_records, st.lists(names, max_size=12), st.integers(1, 8), st.floats(0, 200 * HOUR))
def test_a_job_can_always_start(found: list[NodeRecord], hosts: list[str], needed: int, now: float) -> None:
    left = {one.node for one in nodes.leave_out(found, USUAL, now, hosts=hosts, needed=needed)}
    assert left <= set(hosts)
    assert not left or len(set(hosts) - left) >= needed


@given(node_records, st.lists(names, max_size=12, unique=True), st.integers(1, 8), st.floats(0, 200 * HOUR))
def test_only_what_there_is_enough_fresh_evidence_against_is_left_out(
    found: list[NodeRecord], hosts: list[str], needed: int, now: float
) -> None:
    for one in nodes.leave_out(found, USUAL, now, hosts=hosts, needed=needed):
        assert one.held or (one.failures >= 2 and now < one.at + 24 * HOUR)


@given(node_records, st.lists(names, max_size=12, unique=True), st.floats(0, 200 * HOUR))
def test_where_there_is_room_all_of_them_are_left_out(found: list[NodeRecord], hosts: list[str], now: float) -> None:
    every = {one.node for one in found if nodes.is_out(one, USUAL, now)} & set(hosts)
    left = nodes.leave_out(found, USUAL, now, hosts=hosts, needed=0)
    assert {one.node for one in left} == every


@given(node_records, st.lists(names, max_size=12, unique=True), st.integers(1, 12), st.floats(0, 200 * HOUR))
def test_the_newest_evidence_goes_first(found: list[NodeRecord], hosts: list[str], needed: int, now: float) -> None:
    chosen = nodes.leave_out(found, USUAL, now, hosts=hosts, needed=needed)
    every = nodes.leave_out(found, USUAL, now, hosts=hosts, needed=0)
    assert every[: len(chosen)] == chosen
    assert [(one.held, one.at) for one in every] == sorted(((one.held, one.at) for one in every), reverse=True)


def test_a_node_may_be_used_again_after_its_time() -> None:
    one = suspect("gn03", at=1000.0)
    assert nodes.until(one, USUAL) == 1000.0 + 24 * HOUR
    assert nodes.is_out(one, USUAL, 1000.0 + 24 * HOUR - 1)
    assert not nodes.is_out(one, USUAL, 1000.0 + 24 * HOUR)
    assert nodes.until(suspect("gn03", 1), USUAL) is None
    assert nodes.until(suspect("gn03", 0, held=True), USUAL) == math.inf
    assert not nodes.is_out(one, BadNodes(hours=0), 1000.0)


@pytest.mark.parametrize("cause", sorted(nodes.BLAMING))
def test_an_end_that_names_a_machine_and_blames_it_is_evidence(cause: Cause) -> None:
    event = Event(run="a", kind="lost", at=5.0, data={"cause": cause.value, "because": "it broke", "host": "gn03"})
    assert nodes.blame(RUN, event) == NodeRecord(
        cluster="hpc", node="gn03", failures=1, cause=cause, because="it broke", run="a", generation=3, at=5.0
    )
    ended = {"generation": 2, "ended_by": cause.value, "ended_because": "it broke", "host": "gn03"}
    found = nodes.blame(RUN, Event(run="a", kind="generation_ended", at=5.0, data=ended))
    assert found is not None
    assert (found.node, found.generation) == ("gn03", 2)


@pytest.mark.parametrize("cause", sorted(set(Cause) - nodes.BLAMING))
def test_no_machine_is_blamed_for_what_another_would_do_as_well(cause: Cause) -> None:
    event = Event(run="a", kind="lost", at=5.0, data={"cause": cause.value, "host": "gn03"})
    assert nodes.blame(RUN, event) is None


def test_an_end_that_names_no_machine_blames_none() -> None:
    for host in (None, ""):
        event = Event(run="a", kind="lost", at=5.0, data={"cause": "gpu_fault", "host": host})
        assert nodes.blame(RUN, event) is None


def test_failures_add_up_until_a_generation_went_well() -> None:
    first = nodes.after(None, suspect("gn03", 1, run="a", generation=1))
    second = nodes.after(first, suspect("gn03", 1, run="b", generation=7))
    assert (second.failures, second.run) == (2, "b")
    assert nodes.cleared(second, "b", 7) == second  # it was blamed in this one, after the checkpoint was made
    assert nodes.cleared(second, "b", 8) is None
    assert nodes.cleared(second, "a", 1) is None
    held = nodes.cleared(nodes.after(suspect("gn03", 0, held=True), second), "a", 1)
    assert held is not None
    assert (held.failures, held.held) == (0, True)


@pytest.mark.parametrize(
    ("node", "hosts", "name"),
    [
        ("gn01", ["gn01", "gn02"], "gn01"),
        ("gn01.cluster.example", ["gn01", "gn02"], "gn01"),
        ("gn01", ["gn01.cluster.example"], "gn01.cluster.example"),
        ("gn01", ["gn01.a", "gn01.b"], None),
        ("gone", ["gn01"], None),
        ("gn0", ["gn01"], None),
        ("10.0.0.1", ["10.0.0.2"], None),
        ("10.0.0.1", ["10.0.0.1", "10.0.0.2"], "10.0.0.1"),
        ("gpu3", ["gpu1", "me@gpu3"], "me@gpu3"),
        ("me@gpu3", ["gpu1", "gpu3"], "gpu3"),
        ("gpu3.lab.example", ["me@gpu3"], "me@gpu3"),
        ("gpu3", ["me@gpu3", "gpu3.other"], "me@gpu3"),
        ("gpu3", ["me@gpu3", "you@gpu3"], None),
        ("me@gpu3", ["me@gpu3", "you@gpu3"], "me@gpu3"),
        ("10.0.0.1", ["me@10.0.0.2"], None),
    ],
)
def test_a_machine_is_known_by_its_short_or_its_long_name(node: str, hosts: list[str], name: str | None) -> None:
    assert nodes.name_among(node, hosts) == name
