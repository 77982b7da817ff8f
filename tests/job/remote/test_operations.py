"""Calls and answers: whatever a command does, and whatever a login shell prints, is told as it was."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters.transport import LocalTransport
from orchestrator.errors import ClusterError
from orchestrator.job.remote import wire
from orchestrator.job.remote.operations import perform

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4), st.text(st.characters(exclude_categories=["Cs"])))
def test_answers_survive_whatever_a_login_shell_prints_before_them(answers: list[object], greeting: str) -> None:
    assert wire.answers_in(f"{greeting}\n{wire.reply(answers)}") == answers
    assert wire.request(wire.pack(answers)) == answers


def test_no_answer_is_no_list() -> None:
    assert wire.answers_in("Welcome to the cluster\nLast login: yesterday\n") is None


def test_a_command_is_told_with_status_and_both_streams() -> None:
    program = "import sys; print(sys.stdin.read()); print('oops', file=sys.stderr); sys.exit(3)"
    (answer,) = LocalTransport().call(("run", {"argv": [sys.executable, "-c", program], "input": "ü"}))
    assert answer == {"status": 3, "stdout": "ü\n", "stderr": "oops\n"}


def test_a_command_that_does_not_end_has_no_status() -> None:
    program = "import time; print('half', flush=True); time.sleep(60)"
    (answer,) = LocalTransport().call(("run", {"argv": [sys.executable, "-c", program], "timeout": 1.0}))
    assert answer["status"] is None
    assert answer["stdout"] == "half\n"


def test_a_program_that_is_not_there_is_told_as_a_shell_does() -> None:
    (answer,) = LocalTransport().call(("run", {"argv": ["no-such-program"]}))
    assert answer["status"] == 127
    assert "no-such-program" in answer["stderr"]


def test_bytes_that_are_no_text_are_escaped() -> None:
    program = "import sys; sys.stdout.buffer.write(bytes([255]))"
    (answer,) = LocalTransport().call(("run", {"argv": [sys.executable, "-c", program]}))
    assert answer["stdout"] == "\\xff"


def test_one_failed_call_does_not_hide_the_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("place") / "file"
    place.write_text("")
    ask = ("ask", {"dir": str(place), "attempt": 1})
    answers = perform([ask, ("run", {"argv": ["true"]})])
    assert "Not a directory" in answers[0]["error"]
    assert answers[1]["value"]["status"] == 0
    with pytest.raises(ClusterError, match=r"this machine: .*Not a directory"):
        LocalTransport().call(ask)
