"""`orch wait` and what `--wait` shares with it: lines on change, the exit code, detaching."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from orchestrator.job.protocol import files as protocol_files
from tests.cli.program import external, generation, orch, record, start

CHECKPOINT = {"step": 20, "proven": True, "path": "generations/000001/checkpoints/checkpoint-20"}


@pytest.mark.parametrize(("kind", "code"), [("succeeded", 0), ("failed", 10), ("stopped", 10), ("cancelled", 11)])
def test_the_exit_code_says_how_a_run_ended(orch_home: Path, tmp_path: Path, kind: str, code: int) -> None:
    record(orch_home, "tiny", (kind, {"because": "a reason"})).close()
    shown = orch("wait", "tiny", ORCH_CONFIG=external(tmp_path))
    assert (shown.returncode, shown.stdout) == (code, "")
    assert f"tiny {kind}" in shown.stderr


def test_off_a_terminal_there_is_a_line_a_change_and_not_a_line_a_look(orch_home: Path, tmp_path: Path) -> None:
    store = record(orch_home, "tiny")
    with start("wait", "tiny", ORCH_CONFIG=external(tmp_path)) as program:
        assert program.stderr is not None
        assert program.stdout is not None
        seen = [program.stderr.readline()]
        for kind, data, lines in (
            ("handed_over", {}, 1),
            ("generation", {"generation": 1}, 1),
            ("running", {"step": 1, "loss": 6.25, "tokens_per_second": 1234.0}, 2),
            ("checkpoint", {"checkpoint": CHECKPOINT, "step": 20}, 2),
            ("succeeded", {"step": 60, "cause": "completed", "because": "training is complete"}, 0),
        ):
            store.record("tiny", kind, data)
            seen += [program.stderr.readline() for _ in range(lines)]
        store.close()
        seen += program.stderr.readlines()
        assert (program.wait(), program.stdout.read()) == (0, "")
    assert "".join(seen[:6]) == (
        "tiny: pending\n"
        "tiny: queued\n"
        "tiny: generation 1 (attempt 1)\n"
        "tiny: running\n"
        "tiny: step 1/60, loss 6.2500, 1.23k tokens/s\n"
        "tiny: step 20/60, loss 6.2500, 1.23k tokens/s\n"
    )
    assert seen[6] == "tiny: checkpoint of step 20 is proven\n"
    assert seen[7].startswith("tiny: step 60/60")
    assert seen[8].startswith("tiny succeeded after ")
    assert ": 60 of 60 steps, loss 6.2500\n" in seen[8]


def test_the_line_of_a_start_tells_the_end_before_it_as_such(orch_home: Path, tmp_path: Path) -> None:
    lost = {"cause": "rank_killed", "because": "Rank 1 was killed."}
    store = record(orch_home, "tiny", ("running", {"generation": 1, "step": 9}))
    ended = protocol_files.generation_dir(store.get("tiny").checkpoint_dir, 1) / "outcome.json"
    ended.parent.mkdir(parents=True)
    ended.write_text('{"result": "failed", "because": "Rank 1 was killed."}')
    with start("wait", "tiny", ORCH_CONFIG=external(tmp_path)) as program:
        assert program.stderr is not None
        program.stderr.readline()
        store.record_all("tiny", [("lost", lost), ("resubmitting", {"attempt": 2}), ("handed_over", {})])
        store.record("tiny", "generation", {"generation": 2})
        seen = [next(line for line in program.stderr if "generation" in line)]
        ended.unlink()
        store.record("tiny", "generation", {"generation": 3})
        seen.append(next(line for line in program.stderr if "generation" in line))
        store.record("tiny", "succeeded", {"step": 60})
        store.close()
        program.stderr.readlines()
    assert seen == [
        "tiny: generation 2 (attempt 2), after: Rank 1 was killed.\n",
        "tiny: generation 3 (attempt 2)\n",
    ]


@pytest.mark.parametrize("line", [["wait", "tiny"], ["logs", "tiny", "-f"], ["status", "tiny", "--watch"]])
def test_an_interrupt_detaches_and_says_how_to_come_back(orch_home: Path, tmp_path: Path, line: list[str]) -> None:
    store = record(orch_home, "tiny", ("running", {"step": 1}))
    generation(orch_home, 1, 1, {"rank-0": "one\n"})
    program = start(*line, ORCH_CONFIG=external(tmp_path))
    first = program.stderr if line[0] == "wait" else program.stdout
    assert first is not None
    first.readline()  # by now it follows
    program.send_signal(signal.SIGINT)
    _, talk = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "detached" in talk
    assert f"orch {' '.join(line)}" in talk
    assert not store.get("tiny").cancel_requested
    store.close()


def test_a_run_that_does_not_exist_is_an_error_at_once(tmp_path: Path) -> None:
    shown = orch("wait", "nothing", ORCH_CONFIG=external(tmp_path))
    assert shown.returncode == 2
    assert "there are no runs yet" in shown.stderr
