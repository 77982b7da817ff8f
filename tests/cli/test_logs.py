"""`orch logs`: whose lines, of which attempt, through which generations."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.cli.program import environ, external, generation, orch, record, start


def test_all_ranks_of_the_newest_attempt_are_shown_generation_by_generation(orch_home: Path) -> None:
    record(orch_home, "tiny", ("resubmitting", {"attempt": 2})).close()
    generation(orch_home, 1, 1, {"rank-0": "old\n"})
    generation(orch_home, 2, 2, {"rank-1": "b\n", "rank-0": "a1\na2\n", "launcher-0": "up\n"})
    generation(orch_home, 3, 2, {"rank-10": "ten\n", "rank-2": "  50%\r 100%\nnot ended"})
    shown = orch("logs", "tiny")
    assert shown.returncode == 0
    assert shown.stdout == (
        "[launcher 0] up\n[rank 0] a1\n[rank 0] a2\n[rank 1] b\n[rank 2]  100%\n[rank 2] not ended\n[rank 10] ten\n"
    )
    assert shown.stderr == "== generation 2 (attempt 2) ==\n== generation 3 (attempt 2) ==\n"


def test_one_rank_is_shown_as_it_was_written(orch_home: Path) -> None:
    record(orch_home, "tiny").close()
    generation(orch_home, 1, 1, {"rank-0": "zero\n", "rank-1": " one\r\n"})
    assert orch("logs", "tiny", "--rank", "1").stdout == " one\n"


def test_an_older_attempt_can_be_asked_for(orch_home: Path) -> None:
    record(orch_home, "tiny", ("resubmitting", {"attempt": 2})).close()
    generation(orch_home, 1, 1, {"rank-0": "old\n"})
    assert orch("logs", "tiny", "--attempt", "1").stdout == "[rank 0] old\n"
    shown = orch("logs", "tiny", "--attempt", "3")
    assert shown.returncode == 2
    assert shown.stderr == "error: tiny has no attempt 3\nhint: it has attempts 1 to 2\n"


def test_an_agent_speaks_for_itself_and_not_again_for_its_ranks(orch_home: Path) -> None:
    record(orch_home, "tiny").close()
    directory = orch_home / "runs" / "tiny" / "attempts" / "000001"
    directory.mkdir(parents=True)
    (directory / "agent-0.log").write_text("generation 1 begins\n[rank 0] loss 1\n")
    generation(orch_home, 1, 1, {"rank-0": "loss 1\n"})
    assert orch("logs", "tiny").stdout == "[agent 0] generation 1 begins\n[rank 0] loss 1\n"


def test_a_rank_that_does_not_exist_is_an_error_and_silence_is_not(orch_home: Path) -> None:
    record(orch_home, "tiny").close()
    silent = orch("logs", "tiny")
    assert (silent.returncode, silent.stdout) == (0, "")
    assert "no output yet" in silent.stderr
    generation(orch_home, 1, 1, {"rank-0": "a\n", "rank-1": "b\n"})
    shown = orch("logs", "tiny", "--rank", "7")
    assert shown.returncode == 2
    assert shown.stderr == "error: attempt 1 of tiny has no rank 7\nhint: its ranks are 0 to 1\n"


def test_bytes_that_are_no_text_pass_unchanged(orch_home: Path) -> None:
    record(orch_home, "tiny").close()
    logs = generation(orch_home, 1, 1, {})
    (logs / "rank-0.log").write_bytes(b"caf\xe9\n")
    command = [sys.executable, "-m", "orchestrator", "logs", "tiny", "--rank", "0"]
    assert subprocess.run(command, capture_output=True, env=environ(), check=True).stdout == b"caf\xe9\n"


def test_following_goes_on_into_new_generations_and_attempts_until_the_end(orch_home: Path, tmp_path: Path) -> None:
    store = record(orch_home, "tiny", ("running", {}))
    first = generation(orch_home, 1, 1, {"rank-0": "one\n"})
    program = start("logs", "tiny", "-f", ORCH_CONFIG=external(tmp_path))
    assert program.stdout is not None
    assert program.stdout.readline() == "[rank 0] one\n"
    with (first / "rank-0.log").open("a") as file:
        file.write("two\nhal")
    assert program.stdout.readline() == "[rank 0] two\n"
    with (first / "rank-0.log").open("a") as file:
        file.write("f\n")
    assert program.stdout.readline() == "[rank 0] half\n"
    generation(orch_home, 2, 1, {"rank-0": "three\n"})
    assert program.stdout.readline() == "[rank 0] three\n"
    store.record("tiny", "resubmitting", {"attempt": 2})
    generation(orch_home, 3, 2, {"rank-0": "four\nlast"})
    assert program.stdout.readline() == "[rank 0] four\n"
    time.sleep(0.5)
    store.record("tiny", "succeeded", {"cause": "completed"})
    rest, talk = program.communicate(timeout=60)
    assert (program.returncode, rest) == (0, "[rank 0] last\n")
    assert talk.splitlines()[-1] == "tiny succeeded"
    store.close()
