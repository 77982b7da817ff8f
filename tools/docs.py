"""Write the generated pages of docs/ from what they describe.

Usage: python tools/docs.py [--check]     (--check: write nothing, exit status 1 when a page is out of date)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import reference

from orchestrator.cli import parser
from orchestrator.cli.surface import COMMANDS, EPILOG, SUMMARY
from orchestrator.clusters import BUILT_IN

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(arguments: list[str]) -> int:
    pages = {"cli.md": command_line(), **reference.pages(BUILT_IN)}
    stale = [name for name, text in pages.items() if not up_to_date(DOCS / name, text)]
    for name in stale:
        if "--check" in arguments:
            print(f"docs/{name} is out of date: make docs")
        else:
            (DOCS / name).write_text(pages[name])
            print(f"wrote docs/{name}")
    return 1 if stale and "--check" in arguments else 0


def up_to_date(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def command_line() -> str:
    """The page of every command, from the parser that reads it."""
    return "\n".join(_command_line()) + "\n"


def _command_line() -> Iterator[str]:
    yield "# The command line"
    yield "\n<!-- Written by `make docs` from orchestrator/cli/surface.py. -->\n"
    yield SUMMARY
    yield "\nstdout has the data, stderr the messages. `python -m orchestrator` is `orch`.\n"
    yield f"```text\n{EPILOG}\n```"
    commands = parser.build(COMMANDS)
    for name, command in parser.commands_of(commands).items():
        yield from _command(name, command)
        for action, below in parser.commands_of(command).items():
            yield from _command(f"{name} {action}", below, level=3)


def _command(name: str, command: argparse.ArgumentParser, *, level: int = 2) -> Iterator[str]:
    yield f"\n{'#' * level} orch {name}\n"
    yield f"{command.description}\n"
    every = command._actions  # noqa: SLF001 - argparse has no public way to walk a parser
    arguments = [action for action in every if action.dest not in ("help", "action")]
    if arguments:
        yield "| argument | |"
        yield "| --- | --- |"
    for action in arguments:
        yield f"| {_argument(action)} | {(action.help or '').replace('|', chr(92) + '|')} |"


def _argument(action: argparse.Action) -> str:
    value = action.metavar or (",".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = str(value).replace("|", chr(92) + "|")
    if not action.option_strings:
        return f"`{shown}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} `{shown}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
