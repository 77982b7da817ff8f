"""A process that outlives the one that starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Mapping, Sequence


def start(argv: Sequence[str], *, environment: Mapping[str, str], directory: str, output: Path) -> int:
    """Start a program in a session of its own, as nobody's child, its output appended to a file; its process id.

    Raises OSError when the program cannot be started.
    """
    read_end, write_end = os.pipe()
    # The fork in the middle leaves at once, so that the program is adopted by init and never becomes a zombie of ours.
    middle = os.fork()
    if middle == 0:
        os.close(read_end)
        _start_and_leave(argv, environment, directory, output, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        answer = answers.read()
    os.waitpid(middle, 0)
    word, _, value = answer.partition(" ")
    if word == "pid":
        return int(value)
    raise OSError(f"cannot start {argv[0]}: {value or 'the starting process died'}")


def _start_and_leave(
    argv: Sequence[str], environment: Mapping[str, str], directory: str, output: Path, answers: int
) -> None:
    answer = "error"
    try:
        with output.open("ab") as log:
            process = subprocess.Popen(
                list(argv),
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        answer = f"pid {process.pid}"
    except OSError as error:
        answer = f"error {error}"
    finally:
        os.write(answers, answer.encode())
        os._exit(0)
