"""The evidence against nodes: written with the events that tell of it, gone when a node did well or is forgiven."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from orchestrator.model.run import Cause
from orchestrator.store import Store, open_store

FIRST = {"cluster": "hpc", "spec_digest": "d", "dir": "/r", "checkpoint_dir": "/r/ckpt", "metrics": "/r/m"}


@pytest.fixture
def store(orch_home: Path):
    with open_store(orch_home) as opened:
        for name in ("a", "b"):
            opened.create_run(name, {**FIRST, "run_id": name})
        yield opened


def lost(store: Store, run: str, host: str, cause: str = "gpu_fault") -> None:
    attempt = store.get(run).attempt
    store.record(run, "lost", {"cause": cause, "because": "Xid 79", "host": host}, at=100.0, attempt=attempt)


def proven(store: Store, run: str, step: int, generation: int, *hosts: str) -> None:
    path = f"generations/{generation:06d}/checkpoints/checkpoint-{step}"
    data = {"checkpoint": {"step": step, "path": path, "proven": True}, "failures": 0}
    store.record(run, "checkpoint", {**data, "well": {"generation": generation, "hosts": list(hosts)}})


def test_failures_of_several_runs_add_up(store: Store) -> None:
    lost(store, "a", "gn03")
    lost(store, "b", "gn03")
    lost(store, "b", "gn04")
    found = {one.node: (one.failures, one.cause, one.run, one.because, one.at) for one in store.node_records("hpc")}
    assert found == {
        "gn03": (2, Cause.GPU_FAULT, "b", "Xid 79", 100.0),
        "gn04": (1, Cause.GPU_FAULT, "b", "Xid 79", 100.0),
    }
    assert store.node_records("other") == []
    assert len(store.node_records()) == 2


def test_an_event_that_is_not_recorded_is_no_evidence(store: Store) -> None:
    store.record("a", "failed", {"cause": "gpu_fault", "host": "gn03"})
    lost(store, "a", "gn03")  # it has ended: nothing more can happen to it
    store.record("b", "lost", {"cause": "gpu_fault", "host": "gn03"}, attempt=7)  # of an attempt that is not the newest
    assert [(one.node, one.failures) for one in store.node_records()] == [("gn03", 1)]


def test_a_proven_checkpoint_clears_the_nodes_that_made_it(store: Store) -> None:
    lost(store, "a", "gn03")
    lost(store, "a", "gn04")
    proven(store, "b", 20, 1, "gn03", "gn05")
    assert [one.node for one in store.node_records()] == ["gn04"]


def test_a_checkpoint_from_before_the_failure_clears_nothing(store: Store) -> None:
    store.record("a", "generation", {"generation": 2})
    lost(store, "a", "gn03")
    proven(store, "a", 20, 2, "gn03")
    assert [one.node for one in store.node_records()] == ["gn03"]
    proven(store, "a", 40, 3, "gn03")
    assert store.node_records() == []


def test_a_node_is_held_by_hand_until_it_is_forgiven(store: Store) -> None:
    store.hold("hpc", "gn03")
    proven(store, "a", 20, 1, "gn03")
    (held,) = store.node_records("hpc")
    assert (held.node, held.held, held.failures) == ("gn03", True, 0)
    assert store.forgive(held)
    assert store.node_records() == []
    assert not store.forgive(held)


def test_a_store_of_the_first_format_learns_of_nodes_and_keeps_its_runs(orch_home: Path) -> None:
    with open_store(orch_home) as store:
        store.create_run("old", {**FIRST, "run_id": "1"})
    with sqlite3.connect(orch_home / "store.db") as connection:
        connection.execute("DROP TABLE nodes")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with open_store(orch_home) as store:
        assert store.get("old").cluster == "hpc"
        store.record("old", "lost", {"cause": "node_lost", "host": "gn03"})
        assert [one.node for one in store.node_records()] == ["gn03"]
