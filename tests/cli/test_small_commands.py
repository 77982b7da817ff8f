"""init, schema, clusters, completion, checkpoints, events, and what goes wrong outside of any command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli import crash
from tests.cli.program import environ, orch, record


def test_init_without_a_terminal_writes_a_job_that_can_be_planned(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("text\n")
    shown = orch("init", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, "")
    assert orch("plan", "job.yaml", cwd=tmp_path).returncode == 0
    again = orch("init", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_init_minimal_to_stdout_has_no_comments(tmp_path: Path) -> None:
    full, minimal = orch("init", "-o", "-", cwd=tmp_path), orch("init", "--minimal", "-o", "-", cwd=tmp_path)
    assert "#" in full.stdout
    assert "#" not in minimal.stdout
    assert 0 < len(minimal.stdout) < len(full.stdout)


@pytest.mark.parametrize("line", [["logs"], ["cancel"], ["resume"], ["nodes", "exclude", "-c", "lab"], []])
def test_an_argument_that_is_no_text_is_refused(line: list[str], tmp_path: Path) -> None:
    shown = orch(*line, os.fsdecode(b"a\xff"), ORCH_HOME=str(tmp_path / "home"))
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith(r"error: the argument 'a\udcff' is not UTF-8")


def test_a_crash_is_written_down_whatever_its_words_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    assert crash.report(ValueError("\udcff"), ["status", "\udcfe"]) == 1
    (path,) = (tmp_path / "crashes").iterdir()
    assert r"status \udcfe" in path.read_text()


def test_both_schemas_are_json_schema() -> None:
    for line in (["schema"], ["schema", "--config"]):
        assert "$schema" in json.loads(orch(*line).stdout)


def test_the_four_bare_clusters_are_always_there(tmp_path: Path) -> None:
    assert [(row["name"], row["default"]) for row in json.loads(orch("clusters", "--json").stdout)] == [
        ("local", True), ("ssh", False), ("slurm", False), ("kubernetes", False),
    ]  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text(
        "default: hpc\nclusters:\n  hpc: {kind: slurm, partition: gpu, gpu_memory: 80GiB, shared_dir: /x}\n"
    )
    shown = orch("clusters", ORCH_CONFIG=str(config)).stdout.splitlines()
    assert shown[-1] == "hpc         slurm       *        gpu_memory 80.0 GiB; shared_dir /x; partition gpu"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_completion_script_is_read_by_its_shell(shell: str, tmp_path: Path) -> None:
    shown = orch("completion", shell)
    assert shown.returncode == 0
    assert "checkpoints" in shown.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    script = tmp_path / "completion"
    script.write_text(shown.stdout)
    subprocess.run([shell, "-n", str(script)], check=True)


def test_bash_completes_the_names_of_runs(orch_home: Path, tmp_path: Path) -> None:
    record(orch_home, "tiny").close()
    record(orch_home, "other").close()
    (tmp_path / "completion").write_text(orch("completion", "bash").stdout)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    import sys

    (bin_dir / "orch").write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    (bin_dir / "orch").chmod(0o755)
    code = f"source {tmp_path}/completion; COMP_WORDS=(orch wait ti); COMP_CWORD=2; _shtab_orch; echo ${{COMPREPLY[@]}}"
    environment = environ(PATH=f"{bin_dir}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "tiny\n"


def test_checkpoints_of_a_foreign_directory_are_listed_and_damage_is_named(tmp_path: Path, orch_home: Path) -> None:
    checkpoint = tmp_path / "out" / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{ torn")
    listed = orch("checkpoints", "out", cwd=tmp_path)
    assert listed.returncode == 0
    assert "checkpoint-20" in listed.stdout
    verified = orch("checkpoints", "out", "--verify", cwd=tmp_path)
    assert "damaged" in verified.stdout
    assert "trainer_state.json" in verified.stdout
    rows = json.loads(orch("checkpoints", "out", "--verify", "--json", cwd=tmp_path).stdout)
    assert [(row["step"], row["proven"]) for row in rows] == [(20, False)]
    assert "trainer_state.json" in {problem["file"] for problem in rows[0]["problems"]}
    one = json.loads(orch("checkpoints", "out/checkpoint-20", "--verify", "--json", cwd=tmp_path).stdout)
    assert one == rows
    assert not orch_home.exists()


def test_checkpoints_of_nothing_are_an_error(tmp_path: Path) -> None:
    shown = orch("checkpoints", "nothing", cwd=tmp_path)
    assert shown.returncode == 2
    assert "wanted the name of a run, a directory or a checkpoint" in shown.stderr
    empty = orch("checkpoints", ".", cwd=tmp_path)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert json.loads(orch("checkpoints", ".", "--json", cwd=tmp_path).stdout) == []


def test_events_are_sentences_and_as_json_a_list(orch_home: Path) -> None:
    record(orch_home, "tiny", ("failed", {"cause": "user_error", "because": "it raised"})).close()
    lines = orch("events", "tiny").stdout.splitlines()
    assert [line[21:] for line in lines] == ["submitted to local", "failed: user_error: it raised"]
    value = json.loads(orch("events", "tiny", "--json").stdout)
    assert [(event["kind"], event["run"]) for event in value] == [("submitted", "tiny"), ("failed", "tiny")]


def test_a_store_that_cannot_be_used_ends_5(orch_home: Path) -> None:
    orch_home.mkdir()
    (orch_home / "store.db").write_text("this is no database, and long enough that nobody takes it for one" * 20)
    for line in (["status"], ["events", "x"], ["wait", "x"]):
        shown = orch(*line)
        assert (shown.returncode, shown.stdout) == (5, "")
        assert shown.stderr.startswith("error: ")
        assert "Traceback" not in shown.stderr


def test_a_bug_is_one_line_and_a_file_and_with_orch_debug_a_traceback(orch_home: Path) -> None:
    store = record(orch_home, "tiny")
    store.close()
    import sqlite3

    with sqlite3.connect(orch_home / "store.db") as connection:
        connection.execute("UPDATE runs SET snapshot = '{}'")
    connection.close()
    shown = orch("status")
    assert (shown.returncode, shown.stdout) == (1, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("error: a bug in orch: KeyError: ")
    assert "Traceback" in Path(line.rpartition("traceback in ")[2]).read_text()
    assert "Traceback" in orch("status", ORCH_DEBUG="1").stderr


def test_the_controller_of_an_empty_store_looks_once_and_leaves() -> None:
    for line in (["controller", "--once"], ["controller", "--stop"]):
        shown = orch(*line)
        assert (shown.returncode, shown.stdout) == (0, ""), shown.stderr
