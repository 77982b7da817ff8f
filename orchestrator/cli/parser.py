"""argparse with the nearest argument in an error, the same help on every Python, and few imports."""

# ruff: noqa: SLF001 - argparse's formatters and actions are extended by their underscored names, as its own classes do

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence

from orchestrator import __version__
from orchestrator.cli.surface import COMMANDS, EPILOG, SUMMARY, VERBOSE
from orchestrator.errors import JobError

TYPE_CHECKING = False  # as typing's, whose import would cost more than all of this module
if TYPE_CHECKING:
    from typing import NoReturn


_VERBOSE = ("-v", "-vv", "--verbose")  # may stand before a command, too


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, at most 100 columns; the same text whatever the version of Python."""

    def __init__(self, prog: str) -> None:
        # A width given here spares argparse the import of shutil, and with it of every compression module.
        super().__init__(prog, max_help_position=24, width=_width())

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        value = "" if action.nargs == 0 else " " + self._format_args(action, action.dest.upper())
        return ", ".join(action.option_strings) + value

    def _format_action(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._SubParsersAction):  # the list of commands, without a heading of its own
            return "".join(self._format_action(command) for command in action._get_subactions())
        return super()._format_action(action)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are JobErrors that name the nearest command, option or choice."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=Help, allow_abbrev=False, **options)  # type: ignore[arg-type]  # argparse's own - passed on
        if hasattr(self, "color"):  # Python 3.14 colours its help
            self.color = False
        self._optionals.title = "options"
        self.add_argument("-v", "--verbose", action="count", default=argparse.SUPPRESS, help=VERBOSE)

    def error(self, message: str) -> NoReturn:
        raise JobError(message, hint=f"{self.prog} --help shows what it takes")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        what = action.dest if action.dest in ("command", "action") else action.metavar or action.dest
        choices = [str(choice) for choice in action.choices]
        raise JobError(
            f"there is no {what} {str(value)!r}",
            hint=did_you_mean(str(value), choices) or f"one of {', '.join(choices)}",
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options with `command` set. Raises JobError, and SystemExit after --help and --version."""
    _check_text(arguments)
    first = next((index for index, argument in enumerate(arguments) if argument not in _VERBOSE), len(arguments))
    if first < len(arguments) and arguments[first] in COMMANDS:
        parser = _command(arguments[first])
        options = _parse(parser, [*arguments[:first], *arguments[first + 1 :]])
        options.command = arguments[first]
        return options
    parser = build(())  # no command was named, so none of their arguments is needed
    options = _parse(parser, arguments)
    if options.command is None:
        parser.error("a command is missing")
    return options


def _check_text(arguments: Sequence[str]) -> None:
    """Bytes that are not UTF-8 cannot be written to the store, to a job's files or to the terminal. Raises JobError."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise JobError(f"the argument {argument!r} is not UTF-8", hint="rename what it stands for") from None


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    options, rest = parser.parse_known_args(arguments)
    if not rest:
        return options
    parser = commands_of(parser).get(getattr(options, "action", None) or "", parser)
    argument = next((argument for argument in rest if argument.startswith("-")), rest[0])
    known = [option for action in parser._actions for option in action.option_strings]
    hint = did_you_mean(argument.partition("=")[0], known) if argument.startswith("-") else None
    raise JobError(
        f"{parser.prog} does not take {argument!r}", hint=hint or f"{parser.prog} --help shows what it takes"
    )


def _command(name: str) -> Parser:
    """The parser of one command alone: what most calls need, and a third of the work of the whole."""
    help_text, add_arguments = COMMANDS[name]
    parser = Parser(prog=f"orch {name}", description=_sentence(help_text))
    add_arguments(parser)
    return parser


def build(complete: Iterable[str] = tuple(COMMANDS)) -> Parser:
    """The parser of the whole surface; only the commands in `complete` get their arguments."""
    parser = Parser(prog="orch", description=SUMMARY, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"orch {__version__}", help="show the version and exit")
    # `prog` given, or argparse would format a usage line only to throw it away.
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="orch")
    for name, (help_text, add_arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=_sentence(help_text))
        if name in complete:
            add_arguments(command)
    return parser


def _sentence(help_text: str) -> str:
    return f"{help_text[0].upper()}{help_text[1:]}."


def did_you_mean(argument: str, known: Iterable[str]) -> str | None:
    """`did you mean ...?` with the nearest of `known`, None when nothing is near."""
    from orchestrator.job.nearest import nearest

    near = nearest(argument, known)
    return f"did you mean {near}?" if near else None


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return max(40, min(int(columns), 100)) - 2
    try:
        return max(40, min(os.get_terminal_size().columns, 100)) - 2
    except OSError:
        return 78
