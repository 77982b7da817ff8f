"""What a rank runs: the built-in trainer, or the command of a job, where its generation has its directories."""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Mapping, Sequence

from orchestrator.job.agent.reading import Reading, name_of, sentence
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import append, read
from orchestrator.job.protocol.jobfile import SHELLS, VARIABLE, JobFile
from orchestrator.job.protocol.records import Note, Shown

BUILT_IN = "orchestrator.job.training.main"
WAIT = 0.05  # seconds between two looks for the record of node 0
# What torchrun sets for a rank: a shell starts ranks of its own.
_OF_A_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")


class ScriptError(Exception):
    """The command of a job cannot be started as it stands. The message is a sentence."""


def run(job: JobFile, directory: Path, stop: Callable[[str], None]) -> None:
    """Runs it as __main__ to its end. `stop`: ends this process because a shown checkpoint was not read."""
    if job.command is None:
        os.chdir(os.environ["ORCH_RUN_DIR"])
        _run_module([BUILT_IN])
        return
    shown = _await_directories(directory)
    os.chdir(directory / files.WORK)
    environ = _for_shell(os.environ) if job.command[0] in SHELLS else os.environ
    command = [expanded(word, _values(job, environ)) for word in job.command]
    if command[0] in ("python", "python3"):
        del command[0]
    if command[0] in SHELLS:
        _run_shell(command, _values(job, environ))
        return
    finish = _instrument(directory, shown, stop) if job.instrument else None
    try:
        _start(command)
    except SystemExit as end:
        if end.code not in (None, 0) or finish is None:
            raise
        finish()
        raise
    if finish is not None:
        finish()


def _start(command: list[str]) -> None:
    if command[0] == "-m":
        _run_module(command[1:])
    elif Path(command[0]).is_file():
        # `python -m` put the launcher's directory first; a script expects its own there.
        sys.path[0] = str(Path(command[0]).resolve().parent)
        sys.argv = command
        runpy.run_path(str(Path(command[0]).absolute()), run_name="__main__")
    else:
        _run_program(command)


def expanded(word: str, environ: Mapping[str, str]) -> str:
    """A word of a command with the values of its variables; a variable that is not set is empty, as in a shell."""
    return VARIABLE.sub(lambda match: match.group(1) or environ.get(match.group(2) or match.group(3), ""), word)


def _values(job: JobFile, environ: Mapping[str, str]) -> dict[str, str]:
    """What the variables of a command stand for: the environment, and what only some launchers put there."""
    return {
        "HOME": str(Path("~").expanduser()),
        "NNODES": str(job.nodes),
        "NODE_RANK": os.environ["ORCH_NODE"],
        "NPROC_PER_NODE": str(job.ranks_per_node),
        "LOCAL_WORLD_SIZE": str(job.ranks_per_node),
        **environ,
    }


def _await_directories(directory: Path) -> Shown:
    """Waits for node 0 to have laid out what the script finds; when that dies, the agent ends this process."""
    while (shown := read(Shown, directory / files.SHOWN)) is None:
        time.sleep(WAIT)
    if shown.resume is not None:
        os.environ["ORCH_RESUME_FROM"] = str(directory.parent.parent / shown.resume)
    return shown


def _run_module(command: Sequence[str]) -> None:
    sys.path[0] = str(Path.cwd())
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _run_program(command: Sequence[str]) -> None:
    """A console script of a package that this Python has, in this process."""
    name = command[0]
    found = [
        point
        for distribution in importlib.metadata.distributions()
        for point in distribution.entry_points
        if point.group == "console_scripts" and point.name == name
    ]
    if not found:
        raise ScriptError(
            f"{name} is neither a file of the job's code nor a console script of a package in {sys.executable}. "
            "Install the package there, or name the script with its path."
        )
    sys.path[0] = str(Path.cwd())
    sys.argv = list(command)
    status = found[0].load()()
    if status not in (None, 0):
        raise SystemExit(status)


def _for_shell(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a shell that starts the ranks of its node itself, at a port of their own."""
    kept = {name: value for name, value in environ.items() if name not in _OF_A_RANK}
    kept = {name: value for name, value in kept.items() if not name.startswith("TORCHELASTIC_")}
    return {**kept, "MASTER_PORT": str(int(environ["MASTER_PORT"]) + 1)}  # this process's launcher has the first


def _run_shell(command: Sequence[str], environ: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environ, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode if done.returncode > 0 else 128 - done.returncode)


def _instrument(directory: Path, shown: Shown, stop: Callable[[str], None]) -> Callable[[], None]:
    """Watches what the script reads, and has the libraries that it imports say what they do; gives what ends that."""
    from orchestrator.job.training import instrument

    root = directory.parent.parent
    reading = Reading(root, shown)

    def before_first_step() -> None:
        if os.environ["RANK"] != "0":
            return  # which rank reads a checkpoint is the script's own affair; rank 0 does in all that are known
        unread = reading.unread()
        if unread is not None:
            stop(sentence(root, unread, reading.read.step if reading.read else None))
        if reading.read is not None:
            text = f"the script has read {name_of(reading.read)} (step {reading.read.step}) before its first step"
            append(directory / files.NOTES, Note(text, time.time()))

    reading.watch()
    return instrument.install(before_first_step, reading.opened)
