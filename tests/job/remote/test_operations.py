"""Operations and answers: whatever a command does, and whatever a login shell prints, is told as it was."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters.transport import LocalTransport
from orchestrator.errors import ClusterError
from orchestrator.job.protocol import operations
from orchestrator.job.protocol.operations import Done, OnAttempt, Operation
from orchestrator.job.protocol.operations.agents import Choice, ChosenHost, ChosenHosts, ReadHosts, ReadSlots
from orchestrator.job.protocol.operations.attempts import DeleteSecrets, RequestStop, Upload, UploadFile
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.protocol.operations.texts import LogSource, LogTexts, ReadLogs
from orchestrator.job.remote import wire
from orchestrator.job.remote.operations import Bug, Failure, function_of, perform, perform_for_another

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FILES = st.builds(UploadFile, TEXT, st.booleans(), st.binary(max_size=20))
OPERATIONS = st.one_of(
    st.builds(RunCommand, st.lists(TEXT, max_size=3).map(tuple), st.floats(0, 1e6)),
    st.builds(Upload, TEXT, st.integers(1, 9), TEXT, TEXT, st.lists(FILES, max_size=2).map(tuple)),
    st.builds(ReadSlots, TEXT, st.integers(1, 9), TEXT, st.lists(st.integers(0, 99), max_size=3).map(tuple)),
    st.builds(ReadLogs, TEXT, TEXT, TEXT, TEXT, st.integers(1, 9), offsets=st.dictionaries(TEXT, st.integers(0))),
)
CHOSEN = ChosenHosts("start", "10.0.0.1", (ChosenHost("gpu1", "gpu1", 8),), {"gpu2": "no torch"})
ANSWERS: list[tuple[Operation[Any], object]] = [
    (RunCommand(("true",)), CommandResult(None, "half")),
    (DeleteSecrets("/runs/x", 1), Done()),
    (DeleteSecrets("/runs/x", 1), Failure("/runs/x: No space left on device", passing=True)),
    (ReadHosts("/runs/x", 1), Choice(CHOSEN)),
    (ReadHosts("/runs/x", 1), Bug("KeyError")),
    (ReadLogs("x", "", "", "", 1), LogTexts((LogSource("a", "rank", 3, ""),), {"a": b"\xff"}, more=False)),
]


@given(st.lists(OPERATIONS, max_size=3))
def test_operations_arrive_as_they_were_sent(operations: list[Operation[Any]]) -> None:
    assert wire.unpack(wire.pack(operations)) == operations


@given(st.lists(st.sampled_from(ANSWERS), max_size=4), TEXT)
def test_answers_survive_whatever_a_login_shell_prints_before_them(
    pairs: list[tuple[Operation[Any], object]], greeting: str
) -> None:
    operations, answers = [operation for operation, _ in pairs], [answer for _, answer in pairs]
    assert wire.answers_in(f"{greeting}\n{wire.reply(answers)}", operations) == answers


def test_every_operation_is_performed_by_a_function_that_is_there() -> None:
    def kinds(kind: type) -> Iterator[type]:
        for one in kind.__subclasses__():
            yield one
            yield from kinds(one)

    for module in pkgutil.iter_modules(operations.__path__, f"{operations.__name__}."):
        importlib.import_module(module.name)
    performed = [function_of(kind) for kind in kinds(Operation) if kind is not OnAttempt]
    assert len(set(performed)) == len(performed) > 10


def test_no_answer_is_no_list() -> None:
    assert wire.answers_in("Welcome to the cluster\nLast login: yesterday\n", []) is None


def test_a_command_is_told_with_status_and_both_streams() -> None:
    program = "import sys; print('\u00fc'); print('oops', file=sys.stderr); sys.exit(3)"
    answer = LocalTransport().call(RunCommand((sys.executable, "-c", program)))
    assert answer == CommandResult(3, "\u00fc\n", "oops\n")


def test_a_command_that_does_not_end_has_no_status() -> None:
    program = "import time; print('half', flush=True); time.sleep(60)"
    answer = LocalTransport().call(RunCommand((sys.executable, "-c", program), timeout=1.0))
    assert answer == CommandResult(None, "half\n")


def test_a_program_that_is_not_there_is_told_as_a_shell_does() -> None:
    answer = LocalTransport().call(RunCommand(("no-such-program",)))
    assert answer.status == 127
    assert "no-such-program" in answer.stderr


def test_bytes_that_are_no_text_are_escaped() -> None:
    program = "import sys; sys.stdout.buffer.write(bytes([255]))"
    assert LocalTransport().call(RunCommand((sys.executable, "-c", program))).stdout == "\\xff"


def test_one_failed_operation_does_not_hide_the_others(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    stop = RequestStop(str(place), 1)
    assert "Not a directory" in perform(stop).message
    assert perform(RunCommand(("true",))).status == 0
    with pytest.raises(ClusterError, match=r"this machine: .*Not a directory"):
        LocalTransport().call(stop)


def test_a_bug_is_no_failure_of_the_world(tmp_path: Path) -> None:
    wrong = ReadLogs("x", "", str(tmp_path), str(tmp_path), attempt="one")
    answer = perform_for_another(wrong)
    assert isinstance(answer, Bug)
    assert "ValueError" in answer.traceback
    with pytest.raises(ValueError, match="Unknown format code"):
        LocalTransport().call(wrong)
