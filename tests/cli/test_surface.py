"""The surface that scripts rely on is frozen: a change of any help text must be made in tests/cli/frozen, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.cli.parser import build, commands_of
from orchestrator.cli.surface import COMMANDS
from tests.cli.program import orch

FROZEN = Path(__file__).parent / "frozen"


ACTIONS = [f"{name} {action}" for name, command in commands_of(build()).items() for action in commands_of(command)]


@pytest.mark.parametrize("command", ["orch", *COMMANDS, *ACTIONS])
def test_the_help_is_frozen(command: str) -> None:
    shown = orch("--help") if command == "orch" else orch(*command.split(), "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == (FROZEN / f"{command.replace(' ', '-')}.txt").read_text()


def test_the_help_names_every_exit_code() -> None:
    shown = orch("--help").stdout
    for code in (0, 2, 3, 4, 5, 10, 11, 130):
        assert f"\n  {code:<4} " in shown


def test_the_version_is_the_packages() -> None:
    assert orch("--version").stdout == f"orch {__version__}\n"


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        (["sumbit"], "there is no command 'sumbit'", "did you mean submit?"),
        (["submit", "job.yaml", "--dryrun"], "orch submit does not take '--dryrun'", "did you mean --dry-run?"),
        (["status", "--jason=1"], "orch status does not take '--jason=1'", "did you mean --json?"),
        (["completion", "bsh"], "there is no shell 'bsh'", "did you mean bash?"),
        (["completion", "powershell"], "there is no shell 'powershell'", "one of bash, zsh, tcsh"),
        (["nodes", "forgve", "x"], "there is no action 'forgve'", "did you mean forgive?"),
        (
            ["clusters", "add", "x", "--kind", "slurm", "--ofline"],
            "orch clusters add does not take '--ofline'",
            "did you mean --offline?",
        ),
        ([], "a command is missing", "orch --help shows what it takes"),
        (
            ["logs", "x", "--rank", "one"],
            "argument --rank: invalid int value: 'one'",
            "orch logs --help shows what it takes",
        ),
        (["wait"], "the following arguments are required: RUN", "orch wait --help shows what it takes"),
        (["wait", "a", "b"], "orch wait does not take 'b'", "orch wait --help shows what it takes"),
        (
            ["rm", "x", "--keep-files", "--checkpoints"],
            "argument --checkpoints: not allowed with argument --keep-files",
            None,
        ),
        (
            ["resume", "x", "--from", "3", "--from-scratch"],
            "argument --from-scratch: not allowed with argument --from",
            None,
        ),
    ],
)
def test_a_wrong_command_line_ends_2_and_names_the_nearest(line: list[str], error: str, hint: str | None) -> None:
    shown = orch(*line)
    assert (shown.returncode, shown.stdout) == (2, "")
    first, second = shown.stderr.splitlines()
    assert first == f"error: {error}"
    assert hint is None or second == f"hint: {hint}"
