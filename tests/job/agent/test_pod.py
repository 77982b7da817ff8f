"""What an agent in a pod tells those who cannot read its disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.clusters.kubernetes.log_records import RecordLog
from orchestrator.job.agent import codes, pod
from orchestrator.job.agent.codes import Ended
from orchestrator.job.agent.options import Options
from orchestrator.job.agent.pod import Pod
from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.records import Claim, Resume
from orchestrator.job.system.atomic import write_json


def options(tmp_path: Path, node: int = 0) -> Options:
    return Options(tmp_path, tmp_path, node, 1, "start", None, None, False, None, tmp_path / "message")


def claim(root: Path, number: int, resume: Resume | None = None) -> Path:
    made = Claim(number, "tiny", "id", 1, "start", 2, "localhost", 1, float(number), resume=resume)
    (root / "generations").mkdir(parents=True, exist_ok=True)
    assert write_claim(root, made)
    directory = generation_dir(root, number)
    directory.mkdir(exist_ok=True)
    return directory


def log(directory: Path, *steps: int) -> None:
    with (directory / "metrics.jsonl").open("a") as file:
        for step in steps:
            print(json.dumps({"step": step, "loss": 1 / step}), file=file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ckpt"


@pytest.fixture
def teller(tmp_path: Path, root: Path) -> Pod:
    made = Pod(tmp_path / "message", options(tmp_path))
    made.own(root, 2)
    return made


def folded(text: str) -> RecordLog:
    fold = RecordLog()
    fold.take(text.encode().splitlines())
    return fold


@pytest.mark.parametrize(
    ("node", "nodes", "code", "seconds"),
    [
        (0, 2, codes.SUCCESS, pod.LINGER),
        (1, 2, codes.SUCCESS, 0.0),
        (0, 1, codes.SUCCESS, 0.0),
        (0, 2, codes.STOPPED, 0.0),
        (0, 2, codes.FAILED, 0.0),
    ],
)
def test_node_0_outlives_the_others_of_a_job_that_is_done(
    tmp_path: Path, root: Path, node: int, nodes: int, code: int, seconds: float
) -> None:
    made = Pod(tmp_path / "message", options(tmp_path, node))
    made.own(root, nodes)
    assert made.lingers(Ended(code, "completed", "because")) == seconds


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (codes.SUCCESS, 0),
        (codes.STOPPED, 182),
        (codes.FAILED, 184),
        (codes.FENCED, 83),
        (codes.HOPELESS, 85),
        (codes.PREFLIGHT, 86),
    ],
)
def test_a_status_says_to_operators_whether_another_start_may_help(code, status):
    assert pod.status(Ended(code, "cause", "because")) == status


def test_everything_that_is_told_can_be_folded_into_what_the_disk_says(teller, root, capsys):
    log(claim(root, 1), 1, 2, 3)
    teller.update(now=True)
    log(generation_dir(root, 1), 4)
    teller.update(now=True)
    fold = folded(capsys.readouterr().out)
    assert [line.step for line in fold.lines()] == [1, 2, 3, 4]
    assert fold.generations[1].attempt == 1
    assert fold.report is not None
    assert fold.report.generation == 1


def test_nothing_is_told_twice(teller, root, capsys):
    log(claim(root, 1), 1)
    teller.update(now=True)
    capsys.readouterr()
    teller.update(now=True)
    assert capsys.readouterr().out == ""


def test_an_agent_that_begins_tells_again_what_counts_from_before(tmp_path, root, capsys):
    log(claim(root, 1), 1, 2, 3)
    checkpoint = "generations/000001/checkpoints/checkpoint-2"
    claim(root, 2, Resume(checkpoint, 2))
    again = Pod(tmp_path / "message", options(tmp_path))
    again.own(root, 2)
    again.update(now=True)
    fold = folded(capsys.readouterr().out)
    assert [line.step for line in fold.lines()] == [1, 2]
    assert sorted(fold.generations) == [1, 2]


def test_other_nodes_leave_their_last_word_and_print_nothing(tmp_path, root, capsys):
    log(claim(root, 1), 1)
    other = Pod(tmp_path / "message", options(tmp_path, node=1))
    other.own(root, 2)
    other.update(now=True)
    other.end(Ended(codes.STOPPED, "asked_to_stop", "SIGTERM"))
    assert capsys.readouterr().out == ""
    word = json.loads((tmp_path / "message").read_text())
    assert (word["node"], word["ended"]["cause"], word["report"]["generation"]) == (1, "asked_to_stop", 1)


def test_who_is_killed_has_left_what_was_known_until_then(teller, root, tmp_path):
    log(claim(root, 1), 1, 2)
    teller.update(now=True)
    word = json.loads((tmp_path / "message").read_text())
    assert (word["report"]["step"], "ended" in word) == (2, False)


def test_a_directory_of_another_run_tells_nothing_of_it(tmp_path, capsys):
    foreign = Pod(tmp_path / "message", options(tmp_path))
    foreign.update(now=True)
    foreign.end(Ended(codes.HOPELESS, "owned", "another run's"))
    assert capsys.readouterr().out == ""
    word = json.loads((tmp_path / "message").read_text())
    assert "report" not in word
    assert word["ended"]["cause"] == "owned"


def test_a_word_fits_a_termination_message_whatever_the_error_was(teller, root, tmp_path):
    directory = claim(root, 1)
    error = {"type": "ValueError", "message": "ä" * 5000, "traceback": "line\n" * 9000, "node": 0, "rank": 1}
    outcome = {"result": "failed", "cause": "user_error", "because": "b" * 9000, "retry": False, "first_error": error}
    write_json(directory / "outcome.json", outcome)
    teller.end(Ended(codes.HOPELESS, "user_error", "x" * 9000))
    content = (tmp_path / "message").read_bytes()
    assert len(content) <= pod.MESSAGE_BYTES
    word = json.loads(content)
    assert word["report"]["cause"] == "user_error"
    assert word["report"]["first_error"]["type"] == "ValueError"
    assert word["report"]["first_error"]["traceback"].endswith("line\n")


def test_a_shorter_word_leaves_nothing_of_a_longer_one(teller, root, tmp_path):
    (tmp_path / "message").write_text("z" * 4000)
    claim(root, 1)
    teller.end(Ended(codes.SUCCESS, "completed", "done"))
    assert json.loads((tmp_path / "message").read_text())["ended"]["result"] == "success"


def test_lines_of_a_log_stay_below_what_runtimes_cut(teller, root, capsys):
    log(claim(root, 1), *range(1, 200))
    write_json(
        generation_dir(root, 1) / "outcome.json",
        {"result": "failed", "cause": "x", "first_error": {"traceback": "t" * 100_000, "message": "m" * 100_000}},
    )
    teller.update(now=True)
    assert max(map(len, capsys.readouterr().out.splitlines())) < 16 * 1024
