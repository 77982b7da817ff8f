"""Wraps the script in every rank: log, process id, and at the end how it ended. Runs before torch is imported."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing.util
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn, Optional

from orchestrator.job.agent import hosts, linux, script
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.encoding import parse, to_json
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import RankDone, RankError, RankProcess
from orchestrator.job.system import proc
from orchestrator.job.system.atomic import create_json, reserve, write_json, write_reserved

RESERVED = 16 * 1024  # bytes on the disk from the start: an error must be written even when the disk is full
_MESSAGE, _TRACEBACK = 2000, 8000  # characters of an error that are recorded: its message's first, its traceback's last


class NotResumedError(Exception):
    """The script has not read the checkpoint that it was shown."""


def main() -> None:
    """Runs the job's script as __main__ and records its end: ranks/rank-R.done.json or ranks/rank-R.error.json."""
    directory, rank = Path(os.environ["ORCH_GENERATION_DIR"]), int(os.environ["RANK"])
    linux.die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # `launched` has blocked it for the launcher
    threading.Thread(target=_die_with_agent, args=(int(os.environ["ORCH_AGENT_PID"]),), daemon=True).start()
    _redirect(directory / files.LOGS / files.rank_log(rank))
    records = directory / files.RANKS
    reserve(records / files.rank_error(rank), RESERVED)
    process = RankProcess(rank, int(os.environ["ORCH_NODE"]), os.getpid(), hosts.here())
    write_json(records / files.rank_process(rank), to_json(process), sync=False)

    def stop(sentence: str) -> None:
        _record(records, process, NotResumedError(sentence), sentence, Cause.NOT_RESUMED)
        print(sentence, file=sys.stderr, flush=True)
        os._exit(1)

    try:
        job = parse(JobFile, (Path(os.environ["ORCH_BUNDLE"]) / files.JOB_FILE).read_bytes(), files.JOB_FILE)
        script.run(job, directory, stop)
    except SystemExit as end:
        if end.code not in (None, 0):
            _record(records, process, end, f"exit status {end.code}")
            raise
    except BaseException as error:
        _record(records, process, error, str(error))
        raise
    _await_helpers()
    # A script that was asked to stop may leave quietly, as Lightning does: only the training itself can attest then.
    if not any(directory.glob(files.stop("*"))):
        create_json(records / files.rank_done(rank), to_json(RankDone(rank)))  # unless the training has attested itself
    _leave()


def _await_helpers() -> None:
    """What the script's threads, pools and processes still do belongs to the run.

    The interpreter would wait for them by these functions; multiprocessing ends its own children by them, too.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - no public function waits for pools of threads
    multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # noqa: SLF001 - else processes outlive it


def _leave() -> NoReturn:
    """Skips the interpreter's own shutdown, where torch and DeepSpeed sometimes abort after a run that went well."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the disk is full, or the script has closed it
            stream.flush()
    os._exit(0)


def _redirect(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # the agent asks where a rank hangs


def _record(
    records: Path, process: RankProcess, error: BaseException, message: str, cause: Optional[Cause] = None
) -> None:
    record = RankError(
        rank=process.rank,
        node=process.node,
        time=time.time(),
        type=type(error).__name__,
        message=message[:_MESSAGE],
        traceback="".join(traceback.format_exception(type(error), error, error.__traceback__))[-_TRACEBACK:],
        cause=cause,
    )
    path = records / files.rank_error(process.rank)
    if not path.exists():  # else the training has recorded it itself
        write_reserved(path, to_json(record))


def _die_with_agent(agent: int) -> None:
    """Waits for the end of the agent and ends this process: a launcher between the two may have died."""
    try:
        select.select([os.pidfd_open(agent)], [], [])
    except (OSError, AttributeError):
        while proc.is_running(agent):
            time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
