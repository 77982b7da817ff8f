"""`orch status`: the JSON that scripts read, the table and the page."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from orchestrator.job.system.lock import acquire
from tests.cli.program import external, orch, record, start

KEYS = {
    "name", "cluster", "phase", "cause", "because", "attempt", "generation", "step", "steps", "loss",
    "tokens_per_second", "checkpoint", "dir", "metrics", "submitted_at", "ended_at",
}  # fmt: skip
CHECKPOINT = {"step": 20, "proven": True, "path": "generations/000001/checkpoints/checkpoint-20"}


def test_the_json_of_a_run_has_every_promised_key(orch_home: Path) -> None:
    record(orch_home, "tiny", ("running", {}), ("checkpoint", {"checkpoint": CHECKPOINT})).close()
    value = json.loads(orch("status", "tiny", "--json").stdout)
    assert value.keys() >= KEYS
    assert (value["name"], value["phase"], value["cause"], value["steps"]) == ("tiny", "running", "none", 60)
    assert value["checkpoint"] == {**CHECKPOINT, "path": f"{value['checkpoint_dir']}/{CHECKPOINT['path']}"}
    assert value["metrics"] == str(orch_home / "runs" / "tiny" / "metrics.jsonl")


def test_the_json_without_a_name_is_a_list_in_the_order_of_submission(orch_home: Path) -> None:
    for name in ("b", "a"):
        record(orch_home, name).close()
    assert json.loads(orch("status", "--json").stdout) == [
        json.loads(orch("status", name, "--json").stdout) for name in ("a", "b")
    ]


def test_no_runs_are_an_empty_list_and_a_word_on_stderr(orch_home: Path) -> None:
    assert json.loads(orch("status", "--json").stdout) == []
    shown = orch("status")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "orch submit job.yaml" in shown.stderr


def test_a_name_that_no_run_has_ends_2_and_names_those_there_are(orch_home: Path) -> None:
    record(orch_home, "tiny").close()
    shown = orch("status", "tony")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: there is no run named tony\nhint: ")
    assert "tiny" in shown.stderr


def test_the_page_says_why_and_what_to_do_next(orch_home: Path) -> None:
    ended = ("stopped", {"cause": "no_proven_checkpoint", "because": "checkpoint-20: its shard is empty"})
    record(orch_home, "tiny", ("running", {}), ended).close()
    page = orch("status", "tiny").stdout
    assert page.startswith("tiny  stopped\nwhy          no_proven_checkpoint: checkpoint-20: its shard is empty\n")
    assert "orch resume tiny --from-scratch" in page
    assert "\x1b" not in page


def test_a_speed_and_the_time_left_come_from_the_metrics(orch_home: Path) -> None:
    record(orch_home, "tiny", ("running", {"step": 30, "tokens_per_second": 1234.5})).close()
    lines = [{"generation": 1, "step": step, "time": 100.0 + 2 * step} for step in range(1, 31)]
    path = orch_home / "runs" / "tiny" / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn": ')
    assert json.loads(orch("status", "tiny", "--json").stdout)["eta"] == 60.0
    assert "1m00s" in orch("status").stdout


def test_watch_ends_with_the_run(orch_home: Path) -> None:
    record(orch_home, "tiny", ("succeeded", {"cause": "completed"})).close()
    shown = orch("status", "tiny", "--watch")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("tiny  succeeded\n")


def test_a_reader_that_leaves_early_is_no_error(orch_home: Path) -> None:
    for number in range(200):
        record(orch_home, f"run-{number}", ("succeeded", {})).close()
    with start("status", "--json") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith("[{")
        program.stdout.close()
        assert program.stderr.read() == ""
        assert program.wait() in {0, 141}


NO_CONTROLLER = "no controller is alive, and tiny has not ended; start one with: orch controller\n"


def test_an_unfinished_run_without_a_controller_is_told_on_stderr(orch_home: Path, tmp_path: Path) -> None:
    record(orch_home, "tiny", ("running", {})).close()
    shown = orch("status", "tiny", "--json")
    assert (json.loads(shown.stdout)["phase"], shown.stderr) == ("running", NO_CONTROLLER)
    assert orch("status", ORCH_CONFIG=external(tmp_path)).stderr == ""


def test_a_dead_controllers_lease_is_no_life_but_its_lock_is(orch_home: Path) -> None:
    with record(orch_home, "tiny") as store:
        store.take_lease(f"boot/{os.uname().nodename}/1", store.lease())
    assert orch("status").stderr == NO_CONTROLLER
    lock = acquire(orch_home / "controller.lock")
    assert lock is not None
    assert orch("status").stderr == ""
    os.close(lock)


def test_nothing_is_said_of_controllers_for_a_run_that_ended_or_just_began(orch_home: Path) -> None:
    with record(orch_home, "tiny", ("succeeded", {})) as store:
        snapshot = store.snapshot("tiny") or {}
        store.create_run("new", {**snapshot, "phase": "pending"}, at=time.time())
    assert orch("status").stderr == ""


def test_runs_are_chosen_by_phase_cluster_and_time(orch_home: Path) -> None:
    for name, cluster in (("a", "local"), ("b", "hpc"), ("c", "hpc")):
        record(orch_home, name, *([("running", {})] if name != "b" else []), cluster=cluster).close()

    def names(*options: str) -> list[str]:
        return [run["name"] for run in json.loads(orch("status", "--json", *options).stdout)]

    assert names("--phase", "running") == ["a", "c"]
    assert names("--cluster", "hpc") == ["b", "c"]
    assert names("--cluster", "hpc", "--last", "1") == ["c"]
    assert names("--since", "2023-01-01") == ["a", "b", "c"]
    assert names("--since", "12h") == []
    assert orch("status", "--since", "12h").stderr == "no run is so\n"


def test_a_choice_of_runs_that_cannot_be_is_told(orch_home: Path) -> None:
    record(orch_home, "a").close()
    for line, error in (
        (["--since", "soon"], "--since 'soon' is not a time"),
        (["--last", "0"], "--last 0: it takes a number from 1 on"),
        (["a", "--phase", "running"], "--phase chooses among all runs, and a is one"),
        (["--phase", "runing"], "there is no PHASE 'runing'"),
    ):
        shown = orch("status", *line)
        assert (shown.returncode, shown.stdout) == (2, "")
        assert shown.stderr.startswith(f"error: {error}"), shown.stderr
