"""python -m orchestrator.job.tasks: loads what was submitted, calls it, leaves its result. As every rank."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from submitit.core import logger
from submitit.core.utils import DelayedSubmission, JobPaths

from orchestrator.job.tasks import environment as names
from orchestrator.job.tasks import pickles
from orchestrator.job.tasks.stop import Clock, Stopper
from orchestrator.job.tasks.streams import Streams
from orchestrator.job.training.environment import Environment, TrainingError, read_environment
from orchestrator.job.training.records import Records

LATE_SECONDS = 60.0  # that a file may take to be seen by another machine


def main() -> None:
    """Runs the task. What the function raises, it raises."""
    environment = read_environment()
    if environment is None:
        raise TrainingError("No orch agent started this process: submit a function with OrchExecutor.")
    _find_modules()
    paths = JobPaths(os.environ[names.FOLDER], os.environ[names.JOB_ID], environment.rank)
    streams = Streams(paths.stdout, paths.stdout if os.environ.get(names.ONE_STREAM) else paths.stderr)
    try:
        _run(environment, paths, streams)
    except Exception:
        streams.append_error(traceback.format_exc())
        raise
    finally:
        streams.close()


def _run(environment: Environment, paths: JobPaths, streams: Streams) -> None:
    result = pickles.result_of(Path(environment.generation_dir), environment.rank)
    try:
        _check_python()
        value = _call(environment, paths, streams)
        pickles.dump(("success", value), result)
    except Exception:
        with contextlib.suppress(OSError):  # the rank's own record of the error has space set aside for it
            pickles.dump(("error", traceback.format_exc()), result)
        logger.get_logger().error("Submitted job triggered an exception")
        raise
    pickles.publish(result, paths.result_pickle)
    logger.get_logger().info("Exiting after successful completion")


def _call(environment: Environment, paths: JobPaths, streams: Streams) -> Any:
    logger.get_logger().info(f"Starting with {names.OrchJobEnvironment()}")
    path = _submitted(environment, paths)
    logger.get_logger().info(f"Loading pickle: {path}")
    delayed = DelayedSubmission.load(path)
    seconds, keeps_time = os.environ.get(names.SECONDS), bool(os.environ.get(names.TIMER))
    clock = Clock(float(seconds) if seconds else None, int(os.environ["ORCH_AGENT_PID"]), loose=not keeps_time)

    def leave() -> NoReturn:
        streams.close()
        os._exit(0)

    stopper = Stopper(environment, delayed, clock, keeps_time=keeps_time, leave=leave)
    stopper.listen()
    Records(environment).progress("training")  # past loading: the run counts as running
    try:
        value = delayed.result()
    finally:
        stopper.deafen()
    logger.get_logger().info("Job completed successfully")
    return value


def _submitted(environment: Environment, paths: JobPaths) -> Path:
    """What an earlier start has stored, else what was submitted. Raises FileNotFoundError."""
    if environment.resume_from is not None:
        stored = Path(environment.resume_from, pickles.SUBMITTED)
        if stored.exists():  # else the function makes checkpoints of its own, by a Session
            return stored
    deadline = time.monotonic() + LATE_SECONDS
    while not paths.submitted_pickle.exists():
        if time.monotonic() > deadline:
            where = f"{os.uname().nodename} does not see {paths.submitted_pickle}, nor did it for {LATE_SECONDS:g} s"
            raise FileNotFoundError(f"{where}: the executor's folder must be one that all nodes share")
        time.sleep(0.5)
    return paths.submitted_pickle


def _check_python() -> None:
    """Raises RuntimeError: code that is pickled by one Python may crash another."""
    wanted, found = os.environ[names.PYTHON], ".".join(map(str, sys.version_info[:2]))
    if wanted != found:
        raise RuntimeError(
            f"the function was submitted by Python {wanted}, and {sys.executable} on {os.uname().nodename} is {found}: "
            "set `python` in the cluster's profile to one of that version"
        )


def _find_modules() -> None:
    """Search for the function's modules and files where the submitting process did."""
    directory = os.environ.get(names.DIRECTORY)
    if directory and Path(directory).is_dir():
        os.chdir(directory)
        sys.path[0] = directory
    known = set(sys.path)
    sys.path[1:1] = [entry for entry in os.environ.get(names.MODULES, "").split(os.pathsep) if entry not in known]


if __name__ == "__main__":
    main()
