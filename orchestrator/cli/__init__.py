"""The command line: `main` reads it, runs one command and turns errors into messages and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from orchestrator.errors import INTERRUPTED, OrchError

BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell shows for a program that a closed pipe ended

# Imports make many objects and no garbage: looking through them again and again takes a tenth of a short command.
GARBAGE = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, TextIOWrapper):  # unencodable names and letters are not errors
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except OrchError as error:
        from orchestrator.cli.terminal import show_error

        show_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit: give it a place where that works.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("ORCH_DEBUG"):
            raise
        from orchestrator.cli.crash import report

        return report(error, arguments)


def _run(arguments: list[str]) -> int:
    gc.set_threshold(GARBAGE)
    from orchestrator.cli.parser import parse

    try:
        options = parse(arguments)
    except SystemExit as done:  # --help and --version end this way
        sys.stdout.flush()
        return int(done.code or 0)
    if verbosity := getattr(options, "verbose", 0):
        from orchestrator.system import logs

        logs.to_stderr(logs.level_of(verbosity))
    command = import_module(f"orchestrator.cli.{options.command}")
    code = int(command.run(options))
    sys.stdout.flush()  # here, where a closed pipe is still answered
    return code
