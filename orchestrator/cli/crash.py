"""Report an unexpected exception: write its traceback to a file, print one line."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from orchestrator import __version__
from orchestrator.cli.terminal import say
from orchestrator.system.paths import orch_home

EXIT_CODE = 1


def report(error: Exception, arguments: Sequence[str]) -> int:
    """Write the traceback under $ORCH_HOME (or where that fails, the temporary directory) and say where."""
    text = f"orch {__version__}: {' '.join(arguments)}\n\n" + "".join(traceback.format_exception(error))
    first_line = (str(error).splitlines() or [""])[0]
    say(f"error: a bug in orch: {type(error).__name__}: {first_line}; traceback in {_write(text)}")
    return EXIT_CODE


def _write(text: str) -> str:
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for directory in (orch_home(os.environ) / "crashes", Path(tempfile.gettempdir())):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return str(directory / name)
    return "no file (no directory is writable); set ORCH_DEBUG=1 to see it"
