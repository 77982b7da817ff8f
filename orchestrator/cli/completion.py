"""`orch completion`: a completion script, made from the very parser that reads the command line."""

from __future__ import annotations

import argparse
from argparse import Namespace

import shtab

from orchestrator.cli.parser import build, commands_of
from orchestrator.errors import OK

_RUNS = {"bash": "_orch_complete_runs", "zsh": "_orch_complete_runs", "tcsh": "`orch status | awk 'NR > 1 {print $1}'`"}
_PREAMBLE = {
    "bash": """\
_orch_complete_runs() {
  compgen -W "$(orch status 2>/dev/null | awk 'NR > 1 {print $1}')" -- "$1"
}
""",
    "zsh": """\
_orch_complete_runs() {
  local -a runs
  runs=(${(f)"$(orch status 2>/dev/null | awk 'NR > 1 {print $1}')"})
  compadd -a runs
}
""",
    "tcsh": "",
}
_KINDS: dict[str, object] = {"job": shtab.FILE, "output": shtab.FILE, "run": _RUNS}


def run(options: Namespace) -> int:
    parser = build()
    for command in commands_of(parser).values():
        for action in command._actions:  # noqa: SLF001 - shtab reads the same attribute
            _mark(action)
    print(shtab.complete(parser, options.shell, preamble=_PREAMBLE[options.shell]))
    return OK


def _mark(action: argparse.Action) -> None:
    """Say what completes an argument: files or the names of runs."""
    if action.dest in _KINDS and action.choices is None:
        action.complete = _KINDS[action.dest]  # type: ignore[attr-defined]  # read by shtab - argparse has none
