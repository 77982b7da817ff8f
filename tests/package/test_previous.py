"""What the version before wrote is read, shown, resumed and cancelled: tests/data/previous/README.md says what."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters.kubernetes.log_records import RecordLog
from orchestrator.clusters.transport import LocalTransport
from orchestrator.job.agent import codes, job
from orchestrator.job.checkpoints import journal, report
from orchestrator.job.protocol import records
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import parse, to_json
from orchestrator.job.protocol.operations.agents import ChosenHosts, ReadHosts, ReadToken
from orchestrator.job.protocol.operations.records import ReadRecords
from orchestrator.job.protocol.pod import PREFIX, LastRecord, LogRecord
from orchestrator.model import codec
from orchestrator.model.run import Run
from orchestrator.store import open_store
from tests.cli.program import external, orch

ARCHIVE = Path(__file__).parents[1] / "data" / "previous" / "written.tar.xz"
MADE = "/tmp/previous"  # where the data was written
TEXTS = {".json", ".jsonl", ".log", ""}


def unpack(place: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer want to be told
        archive.extractall(place)
    for path in place.rglob("*"):
        if path.is_file() and path.suffix in TEXTS:
            path.write_bytes(path.read_bytes().replace(MADE.encode(), str(place).encode()))
        elif path.suffix == ".db":
            _move(path, str(place))
    for slot in place.glob("home/runs/*/attempts/*/slot-0.json"):  # the machine of the runs in `home` is this one
        slot.write_text(json.dumps({**json.loads(slot.read_text()), "host": os.uname().nodename}))
    return place


def _move(store: Path, place: str) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE runs SET snapshot = replace(snapshot, ?, ?)", (MADE, place))
        connection.execute("UPDATE events SET data = replace(data, ?, ?)", (MADE, place))


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only read."""
    return unpack(tmp_path_factory.mktemp("previous"))


PRINTED = {
    "home": ("--json", "done", "broken", "cancelled", "open"),
    "home-ssh": ("--json", "remote", "kept"),
    "home-slurm": ("--json", "job", "waiting"),
}  # by ORCH_HOME: of all runs, and of each


@pytest.mark.parametrize(("home", "second"), [(home, one) for home, words in PRINTED.items() for one in words])
def test_commands_print_what_they_printed_before(untouched: Path, home: str, second: str) -> None:
    printed: dict[str, str] = json.loads((untouched / "printed.json").read_text())[home]
    before = {command: text for command, text in printed.items() if command.split()[1] == second}
    assert before
    here = {"ORCH_HOME": str(untouched / home), "ORCH_CONFIG": external(untouched), "TZ": "UTC"}
    assert {command: without_kind(orch(*command.split(), **here).stdout) for command in before} == before


def without_kind(printed: str) -> str:
    """What a command prints, without the key and the column that `orch checkpoints` has had since."""
    if printed.startswith("STEP ") and " KIND " in printed.splitlines()[0]:
        first = printed.index("KIND")
        width = printed.index("PATH") - first
        lines = (
            line if line.startswith("      ") else line[:first] + line[first + width :] for line in printed.splitlines()
        )
        return "\n".join(lines) + "\n"
    return re.sub(r'"kind": "\w*", ("path")', r"\1", printed)


RECORDS = {
    "*/generations/[0-9]*.json": records.Claim,
    "*/outcome.json": records.Outcome,
    "*/success.json": records.Success,
    "*/generations/*/node-*.json": records.NodeJoined,
    "*/beat-*.json": records.Heartbeat,
    "*/exit-*.json": records.NodeExit,
    "*/stop-*.json": records.StopRequest,
    "*/ranks/rank-?.json": records.RankProcess,
    "*/rank-*.error.json": records.RankError,
    "*/rank-*.done.json": records.RankDone,
    "*/prunes/*.json": records.JournalEntry,
    "*/owner.json": records.Owner,
    "*/run.json": records.Owner,
    "*/progressed.json": records.Owner,
    "*/hosts.json": ChosenHosts,
    "*/ended-*.json": records.Ending,
    "*/pod/*-word.json": LastRecord,
}


def again(kind: type, text: str) -> str:
    return json.dumps(to_json(parse(kind, text)))


def test_records_that_are_read_and_written_again_stay_as_they_were(untouched: Path) -> None:
    names = {str(path): path for path in untouched.rglob("*.json")}
    for pattern, kind in RECORDS.items():
        found = fnmatch.filter(names, pattern)
        if kind is records.Claim:
            found = [name for name in found if names[name].parent.name == "generations"]
        assert found, pattern
        for text in (names[name].read_text() for name in found):
            assert again(kind, text) == json.dumps(json.loads(text))
    for log in untouched.glob("pod/*.log"):
        for line in log.read_text().splitlines():
            if line.startswith(PREFIX):
                assert again(LogRecord, line[len(PREFIX) :]) == json.dumps(json.loads(line[len(PREFIX) :]))
    for path in untouched.glob("home*/store.db"):
        with closing(sqlite3.connect(path)) as connection:
            for (text,) in connection.execute("SELECT snapshot FROM runs"):
                assert codec.dump(codec.load(Run, text)) == text
    for path in untouched.rglob("metrics.jsonl"):
        assert [json.dumps(to_json(line)) for line in report.read_lines(path)] == path.read_text().splitlines()


def run_of(place: Path, home: str, name: str) -> Run:
    with open_store(place / home) as store:
        return store.get(name)


def records_of(run: Run) -> ReadRecords:
    return ReadRecords(
        run=run.name,
        run_id=run.run_id,
        dir=run.dir,
        checkpoint_dir=run.checkpoint_dir,
        attempt=run.attempt,
        nodes=2,
        after=0,
        metrics=True,
    )


@pytest.mark.parametrize(
    ("home", "name", "job_id"),
    [
        ("home-ssh", "remote", None),
        ("home-ssh", "kept", None),
        ("home-slurm", "job", "1"),
        ("home-slurm", "waiting", "2"),
    ],
)
def test_the_directory_of_an_attempt_is_read(untouched: Path, home: str, name: str, job_id: str | None) -> None:
    run, asked = run_of(untouched, home, name), name in {"kept", "waiting"}
    found = LocalTransport().call(records_of(run))
    assert (found.owner, found.job, found.asked) == (None, job_id, asked)
    assert found.report.success is not asked
    causes = Cause.ASKED_TO_STOP if asked else Cause.COMPLETED
    assert {node: end.cause for node, end in found.ended.items()} == {0: causes, 1: causes}
    assert [(one.generation, one.attempt, len(one.hosts)) for one in found.generations] == [(1, 1, 2)]
    assert found.metrics is not None
    assert [line.step for line in found.metrics.lines] == list(range(1, 6 if asked else 7))


def test_the_hosts_and_the_token_of_an_attempt_are_read(untouched: Path) -> None:
    run = run_of(untouched, "home-ssh", "remote")
    token = LocalTransport().call(ReadToken(run.dir, 1))
    chosen = LocalTransport().call(ReadHosts(run.dir, 1)).chosen
    assert chosen is not None
    assert (chosen.names, token.chosen) == (("gpu1", "gpu2"), chosen)
    assert token.token == json.loads(Path(run.dir, "attempts", "000001", "token.json").read_text())["token"]


def test_a_generation_that_was_lost_one_that_is_open_and_their_journals_are_read(untouched: Path) -> None:
    root = Path(run_of(untouched, "home", "open").checkpoint_dir)
    lost, still = report.generations(root, 0)
    assert [(one.result, one.cause, one.attempt) for one in (lost, still)] == [(None, None, 1), (None, None, 2)]
    assert still.resumed_path == "generations/000001/checkpoints/checkpoint-4"
    assert journal.announced(root, 2) == {"generations/000001/checkpoints/checkpoint-2"}
    assert not journal.announce(root, 1, ["anything"]), "it was closed when generation 2 was claimed"
    errors = {
        one.because.split(":")[0]
        for one in report.generations(Path(run_of(untouched, "home", "broken").checkpoint_dir), 0)
    }
    assert errors == {"Rank 0 on node 0"}


def test_what_pods_printed_is_read(untouched: Path) -> None:
    ended = []
    for name in ("done", "broken", "open"):
        told = RecordLog()
        told.take((untouched / "pod" / f"{name}.log").read_bytes().splitlines())
        word = parse(LastRecord, (untouched / "pod" / f"{name}-word.json").read_bytes())
        assert told.report is not None
        assert word.report == told.report
        ended.append((told.report.result, told.report.success, word.ended.cause if word.ended else None))
        assert [one.cause for one in told.generations.values() if one.result is None] == (
            [None] if name == "open" else []
        )
        assert all(line.values["accuracy"] == line.step / 6 for line in told.lines())
    assert ended == [("success", True, Cause.COMPLETED), ("failed", False, Cause.USER_ERROR), (None, False, None)]


@pytest.mark.parametrize("bundle", ["home/runs/open", "ssh-shared/runs/remote", "slurm-shared/runs/job"])
def test_job_json_is_read(untouched: Path, bundle: str) -> None:
    found = job.load(untouched / bundle / "attempts" / "000001" / "bundle", untouched / bundle)
    assert (found.format, found.command is not None, found.every_steps, found.keep) == (1, True, 2, 3)


def test_a_job_json_of_a_newer_format_is_refused_by_file_and_number(untouched: Path, tmp_path: Path) -> None:
    content = json.loads((untouched / "home/runs/open/attempts/000001/bundle/job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(codes.Ended) as caught:
        job.load(tmp_path, tmp_path)
    assert f"{tmp_path / 'job.json'}" in caught.value.because
    assert "format: wanted 1 at most, found 2, written by a newer orch" in caught.value.because


def test_a_store_of_a_newer_schema_is_refused_with_a_sentence(tmp_path: Path) -> None:
    home = unpack(tmp_path) / "home"
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("PRAGMA user_version = 3")
    done = orch("status", ORCH_HOME=str(home), ORCH_CONFIG=external(tmp_path))
    assert done.returncode == 5
    assert done.stderr.startswith(
        f"error: the store {home / 'store.db'} has format 3, made by a newer orch; this one reads"
    )


def state(home: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(orch("status", name, "--json", ORCH_HOME=str(home)).stdout)
    return value


def test_a_run_whose_attempt_was_lost_is_cancelled(tmp_path: Path) -> None:
    home = unpack(tmp_path) / "home"
    assert orch("cancel", "open", ORCH_HOME=str(home)).returncode == 0
    orch("wait", "open", ORCH_HOME=str(home))
    found = state(home, "open")
    assert (found["phase"], found["cause"], found["attempt"], found["step"]) == ("cancelled", "cancelled", 2, 5)


@pytest.mark.deepspeed
def test_a_run_whose_attempt_was_lost_goes_on_from_its_newest_proven_checkpoint(tmp_path: Path) -> None:
    home = unpack(tmp_path) / "home"
    waited = orch("wait", "open", ORCH_HOME=str(home))
    assert waited.returncode == 0, waited.stderr
    found = state(home, "open")
    assert (found["phase"], found["attempt"], found["generation"], found["step"]) == ("succeeded", 3, 3, 6)
    claim = json.loads((Path(found["checkpoint_dir"]) / "generations" / "000003.json").read_text())
    assert claim["resume"] == {"path": "generations/000001/checkpoints/checkpoint-4", "step": 4}
    lines = [json.loads(line) for line in Path(found["metrics"]).read_text().splitlines()]
    assert [(line["step"], line["accuracy"]) for line in lines] == [(step, step / 6) for step in range(1, 7)]
    assert not any("peak_memory" in line for line in lines), "nothing is added to what a script logs"
