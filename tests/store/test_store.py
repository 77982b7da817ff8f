"""The store: one run of a name, a history that tells the whole of it, and errors that say what to do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator.store
from orchestrator.errors import JobError, StoreError
from orchestrator.model.fold import replay
from orchestrator.model.run import Cause, CheckpointRef, Phase
from orchestrator.store import Store, open_reader, open_store

FIRST = {
    "run_id": "0123456789ab",
    "cluster": "local",
    "spec_digest": "d",
    "dir": "/runs/a",
    "checkpoint_dir": "/runs/a/ckpt",
    "metrics": "/runs/a/metrics.jsonl",
}


@pytest.fixture
def store(orch_home: Path):
    with open_store(orch_home) as opened:
        yield opened


def test_a_run_is_made_once(store: Store) -> None:
    run, new = store.create_run("a", FIRST)
    assert (run.phase, new) == (Phase.PENDING, True)
    again, new = store.create_run("a", {**FIRST, "run_id": "other"})
    assert (again.run_id, new) == ("0123456789ab", False)
    assert [event.kind for event in store.events("a")] == ["submitted"]


def test_of_many_processes_that_make_the_same_run_one_does(orch_home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from orchestrator.store import open_store;"
        f"print(open_store(Path(sys.argv[1])).create_run('a', {FIRST!r})[1])"
    )
    many = [
        subprocess.Popen([sys.executable, "-c", program, str(orch_home)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in many)
    assert answers == ["False"] * 5 + ["True"]


def test_a_run_is_what_its_events_say(store: Store) -> None:
    store.create_run("a", FIRST)
    store.record("a", "handed_over", {"handle": "x"})
    store.record("a", "started")
    store.record("a", "checkpoint", {"checkpoint": {"step": 20, "path": "p", "proven": True}, "failures": 0})
    run = store.record("a", "failed", {"cause": "user_error", "because": "a typo"})
    assert (run.phase, run.cause, run.because) == (Phase.FAILED, Cause.USER_ERROR, "a typo")
    assert run.checkpoint == CheckpointRef(step=20, path="p", proven=True)
    assert run.ended_at is not None
    assert store.get("a") == run == replay(store.events("a"))


def test_a_run_that_ended_takes_no_event_but_resumed(store: Store) -> None:
    store.create_run("a", FIRST)
    ended = store.record("a", "cancelled", {"cause": "cancelled"})
    assert store.record("a", "running") == ended
    assert store.record("a", "succeeded") == ended
    resumed = store.record("a", "resumed", {"attempt": 2})
    assert (resumed.phase, resumed.attempt, resumed.ended_at) == (Phase.PENDING, 2, None)
    assert store.record("a", "resumed", {"attempt": 3}).attempt == 2
    assert [event.kind for event in store.events("a")] == ["submitted", "cancelled", "resumed"]


def test_an_event_of_an_older_attempt_is_left_out(store: Store) -> None:
    store.create_run("a", FIRST)
    store.record("a", "resubmitting", {"attempt": 2})
    assert store.record("a", "failed", attempt=1).phase is Phase.PENDING


def test_current_values_are_kept_without_events(store: Store) -> None:
    store.create_run("a", FIRST)
    store.update({"a": {"step": 7, "loss": 0.5}})
    assert (store.get("a").progress.step, store.get("a").progress.loss) == (7, 0.5)
    assert len(store.events("a")) == 1


def test_events_can_be_read_from_where_one_left_off(store: Store) -> None:
    store.create_run("a", FIRST)
    store.create_run("b", FIRST)
    last = store.events()[-1].seq
    store.record("a", "started")
    assert [(event.run, event.kind) for event in store.events(after=last)] == [("a", "started")]


def test_an_unknown_run_is_an_error_that_names_the_newest_ones(store: Store) -> None:
    store.create_run("a", FIRST)
    with pytest.raises(JobError, match="no run named b") as error:
        store.get("b")
    assert "a" in (error.value.hint or "")


def test_names_of_secret_variables_are_those_of_unfinished_runs(store: Store) -> None:
    store.create_run("a", FIRST, secrets=["HF_TOKEN", "WANDB"])
    store.create_run("b", FIRST, secrets=["HF_TOKEN"])
    assert store.secret_variables() == ["HF_TOKEN", "WANDB"]
    store.record("a", "failed")
    assert store.secret_variables() == ["HF_TOKEN"]


def test_a_thousand_runs_are_read_by_one_select(store: Store) -> None:
    store.create_run("r0", FIRST)
    connection = sqlite3.connect(store.path)
    row = connection.execute("SELECT submitted_at, snapshot FROM runs").fetchone()
    rows = [(f"r{i}", 0, row[0] + i, row[1], "") for i in range(1, 1000)]
    connection.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)
    assert len(store.snapshots()) == 1000
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 1, asked


def test_the_format_of_a_newer_orch_is_refused(orch_home: Path) -> None:
    open_store(orch_home).close()
    connection = sqlite3.connect(orch_home / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="format 99") as error:
        open_store(orch_home)
    assert "ORCH_HOME" in (error.value.hint or "")


def test_a_damaged_file_is_an_error_that_says_so(orch_home: Path) -> None:
    orch_home.mkdir()
    (orch_home / "store.db").write_bytes(b"this is no database, and long enough to be read as one" * 40)
    with pytest.raises(StoreError) as error:
        open_store(orch_home)
    assert "damaged" in (error.value.hint or "")


def test_a_home_that_is_a_file_is_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError) as error:
        open_store(tmp_path / "home")
    assert "ORCH_HOME" in (error.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(StoreError):
        open_store(tmp_path / "home")


def test_a_store_that_another_process_locked_is_an_error_after_a_while(store: Store, orch_home: Path) -> None:
    other = sqlite3.connect(orch_home / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._connection.execute("PRAGMA busy_timeout = 100")
    with pytest.raises(StoreError, match="locked") as error:
        store.create_run("a", FIRST)
    assert "fuser" in (error.value.hint or "")
    other.close()


def test_a_process_killed_while_it_writes_leaves_a_store_that_opens(orch_home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from orchestrator.store import open_store;"
        "s = open_store(Path(sys.argv[1]));"
        f"[s.create_run(f'r{{i}}', {FIRST!r}) and print(i, flush=True) for i in range(100000)]"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(orch_home)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.kill()
    told = writer.communicate()[0].split()
    with open_store(orch_home) as store:
        assert len(store.snapshots()) >= 20 + len(told)
        assert len(store.events()) == len(store.snapshots())


def test_what_status_needs_imports_nothing_heavy() -> None:
    program = "import sys, orchestrator.store; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"yaml", "pydantic", "jinja2", "torch", "asyncio", "logging", "subprocess"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_reader_sees_what_the_store_wrote_and_nothing_else_of_it_is_loaded(orch_home: Path) -> None:
    with open_store(orch_home) as store, open_reader(orch_home) as reader:
        assert reader.snapshots() == []
        store.create_run("tiny", FIRST)
        assert reader.snapshots() == [reader.snapshot("tiny")] == store.snapshots()
        assert (reader.snapshot("other"), str(reader.unknown("other"))) == (None, "there is no run named other")


def test_the_package_names_only_what_it_has() -> None:
    assert all(getattr(orchestrator.store, name) for name in orchestrator.store.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        orchestrator.store.nothing  # noqa: B018 - looking it up is the test
