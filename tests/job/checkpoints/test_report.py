"""What a run's records say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.job.checkpoints import report
from orchestrator.job.protocol.files import REFUSALS, generation_dir
from orchestrator.job.system.atomic import write_json
from tests.job.checkpoints import history


def _log(root: Path, generation: int, steps: range, **extra: Any) -> None:
    with (generation_dir(root, generation) / "metrics.jsonl").open("a") as file:
        for step in steps:
            file.write(json.dumps({"step": step, "generation": generation, "loss": 1 / step, **extra}) + "\n")


def _lines(root: Path) -> list[tuple[int, int]]:
    return [(line.step, line.values["generation"]) for line in report.read_metrics(root)]


def test_every_step_has_the_line_of_the_generation_that_counts(tmp_path: Path) -> None:
    history.claim(tmp_path)
    _log(tmp_path, 1, range(1, 16))
    history.commit(tmp_path, 1, 10)
    history.claim(tmp_path)
    _log(tmp_path, 2, range(11, 14))
    expected = [(step, 1) for step in range(1, 11)] + [(step, 2) for step in range(11, 14)]
    assert _lines(tmp_path) == expected, "steps 14 and 15 were in vain"
    history.claim(tmp_path)
    assert _lines(tmp_path) == [(step, 1) for step in range(1, 11)]
    _log(tmp_path, 3, range(11, 13))
    assert _lines(tmp_path)[-2:] == [(11, 3), (12, 3)]


def test_going_back_to_an_older_step_drops_the_lines_after_it(tmp_path: Path) -> None:
    history.claim(tmp_path)
    _log(tmp_path, 1, range(1, 21))
    history.commit(tmp_path, 1, 10)
    history.commit(tmp_path, 1, 20)
    history.claim(tmp_path, attempt=2, from_step=10)
    _log(tmp_path, 2, range(11, 12))
    assert _lines(tmp_path) == [(step, 1) for step in range(1, 11)] + [(11, 2)]


def test_starting_from_scratch_drops_all_lines(tmp_path: Path) -> None:
    history.claim(tmp_path)
    _log(tmp_path, 1, range(1, 11))
    history.commit(tmp_path, 1, 10)
    history.claim(tmp_path, attempt=2, from_scratch=True)
    assert _lines(tmp_path) == []


def test_torn_and_foreign_lines_are_left_out(tmp_path: Path) -> None:
    history.claim(tmp_path)
    _log(tmp_path, 1, range(1, 3))
    with (generation_dir(tmp_path, 1) / "metrics.jsonl").open("ab") as file:
        file.write(b'null\n{"loss": 1}\n\xff\xfe\n{"step": 3, "lo')
    assert _lines(tmp_path) == [(1, 1), (2, 1)]
    assert report.read_report(tmp_path).progress.step == 2


def test_a_report_follows_a_generation_from_claim_to_outcome(tmp_path: Path) -> None:
    assert report.read_report(tmp_path) == report.Report()
    history.claim(tmp_path)
    begun = report.read_report(tmp_path)
    assert (begun.generation, begun.attempt, begun.result, begun.progress.step) == (1, 1, None, None)
    _log(tmp_path, 1, range(1, 12), tokens_per_second=5.0)
    write_json(generation_dir(tmp_path, 1) / "progress.json", {"state": "training", "step": 11, "steps": 40, "time": 0})
    history.commit(tmp_path, 1, 10)
    for node, count in ((0, 7), (1, 5)):
        write_json(generation_dir(tmp_path, 1) / f"beat-{node}.json", {"count": count})
    running = report.read_report(tmp_path)
    assert (running.state, running.progress) == ("training", report.Progress(11, 40, 1 / 11, 5.0))
    assert running.beat == 12
    assert running.checkpoint == report.CheckpointRef(10, "generations/000001/checkpoints/checkpoint-10", proven=True)
    history.end(tmp_path, 1, "failed", cause="cuda_oom", because="too big", retry=False, failures=3)
    ended = report.read_report(tmp_path)
    assert (ended.result, ended.cause, ended.because, ended.retry) == ("failed", "cuda_oom", "too big", False)
    assert ended.failures == 3


def test_generations_that_were_known_before_say_nothing_anew(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    history.end(tmp_path, 1, "failed")
    known = report.read_report(tmp_path, after_generation=1)
    assert (known.generation, known.result) == (0, None)
    assert known.checkpoint is not None
    history.claim(tmp_path, attempt=2)
    assert report.read_report(tmp_path, after_generation=1).generation == 2


def test_a_start_that_was_refused_is_reported_until_a_claim_comes_after_it(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.end(tmp_path, 1, "failed")
    refusal = {"node": 1, "attempt": 2, "generation": 1, "cause": "preflight", "because": "no GPU", "time": 1.0}
    (tmp_path / REFUSALS).mkdir()
    write_json(tmp_path / REFUSALS / "node-1.json", {**refusal, "result": "failed", "retry": False})
    refused = report.read_report(tmp_path, after_generation=1)
    assert (refused.attempt, refused.result, refused.cause, refused.because) == (2, "failed", "preflight", "no GPU")
    history.claim(tmp_path, attempt=3)
    assert report.read_report(tmp_path).result is None


def test_the_list_has_every_directory_and_says_what_is_wrong(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    (history.commit(tmp_path, 1, 20) / "latest").write_text("x")
    history.save(tmp_path, 1, 30)
    quick = report.list_checkpoints(tmp_path)
    assert [(entry.step, entry.proven) for entry in quick] == [(30, False), (20, None), (10, None)]
    full = report.list_checkpoints(tmp_path, verify=True)
    assert [(entry.step, entry.proven) for entry in full] == [(30, False), (20, False), (10, True)]
    assert [problem.file for problem in full[1].problems] == ["latest"]
    assert full[2].bytes > 0
