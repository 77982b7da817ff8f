"""What ranks write is repeated on the agent's stdout: whole lines, once each, each with whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.job.agent.log_tail import LogTail


def test_lines_are_repeated_when_they_are_whole_and_the_last_one_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "rank-3.log"
    echo = LogTail({"rank 3": log})
    echo.pump()
    log.write_text("one\n\ntwo has no en")
    echo.pump()
    assert capsys.readouterr().out == "[rank 3] one\n[rank 3] \n"
    echo.pump()
    assert capsys.readouterr().out == ""
    with log.open("a") as file:
        file.write("d\nthree")
    echo.pump()
    assert capsys.readouterr().out == "[rank 3] two has no end\n"
    echo.pump(final=True)
    assert capsys.readouterr().out == "[rank 3] three\n"
    echo.pump(final=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\r 0%\r50%\r100%\n", "100%"),
        ("carried home\r\n", "carried home"),
        ("a line\u2028and more\x0bof it\n", "a line\u2028and more\x0bof it"),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_show_it_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, shown: str
) -> None:
    log = tmp_path / "rank-0.log"
    log.write_bytes(written.encode())
    LogTail({"rank 0": log}).pump()
    assert capsys.readouterr().out == f"[rank 0] {shown}\n"
