"""Starting an attempt's agents on this machine."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.clusters import interpreter
from orchestrator.clusters.attempts import (
    place_of,
    refuse_other_run,
    secret_environment,
    start_arguments,
    start_id,
    upload_of,
)
from orchestrator.clusters.hosts import machine
from orchestrator.clusters.transport import LocalTransport
from orchestrator.config.messages import alternatives
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.operations.agents import Agent, ReadSlots, Slot, Start
from orchestrator.job.remote import agents, attempts
from orchestrator.job.system import failpoints
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Submission
from orchestrator.system import processes

ADDRESS = "127.0.0.1"


def start(submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
    """Start what is not started of an attempt here; its handle. Raises ClusterError and Unreachable."""
    name, place = start_id(submission), place_of(submission)
    try:
        uploaded = attempts.upload(upload_of(submission, bundle, {}))
        refuse_other_run(uploaded)
        if not uploaded.asked:
            failpoints.failpoint("start.uploaded")
            _refuse_elsewhere(submission, name)
            job = _job(place_of(submission))
            if not _is_begun(submission, name):
                _refuse_interpreter(submission, job)
            agents.start(_agents(submission, job, name, secrets))
    except OSError as error:
        if error.errno == errno.EADDRINUSE or _is_begun(submission, name):
            unknown = f"attempt {submission.attempt} of {submission.run} has begun, and not all of it: {error}"
            raise Unreachable(unknown, hint="it is tried again") from error
        raise ClusterError(
            f"attempt {submission.attempt} of {submission.run} cannot be started in {place}: {error}",
            hint="see that the directory can be written to and has room",
        ) from error
    return f"{os.uname().nodename}:{name}"


def _is_begun(submission: Submission, start: str) -> bool:
    """Whether an agent runs, so that a refusal of the attempt would leave it behind."""
    try:
        return any(slot.state == "live" for slot in _slots(submission, start))
    except OSError:
        return False


def _slots(submission: Submission, start: str) -> Sequence[Slot]:
    nodes = tuple(range(submission.nodes))
    return agents.slots(ReadSlots(submission.dir, submission.attempt, start, nodes)).slots


def _refuse_elsewhere(submission: Submission, start: str) -> None:
    for slot in _slots(submission, start):
        if slot.state == "elsewhere":
            started = f"attempt {submission.attempt} of {submission.run} was started on {slot.host}, not here"
            raise Unreachable(started)


def _refuse_interpreter(submission: Submission, job: JobFile) -> None:
    """One that the profile names is asked: agents that end at once would be started again and again."""
    if job.python is None:
        return
    needed = ("torch",) if job.training is None else ("torch", "deepspeed", "transformers")
    answer = LocalTransport().call(interpreter.question(job.python, ()))
    if answer.status is None:
        raise Unreachable(f"{job.python} did not answer within {interpreter.SECONDS:.0f} s", hint="it is tried again")
    reason = interpreter.unfit(job.python, answer, needed)
    if reason is not None:
        raise ClusterError(
            f"attempt {submission.attempt} of {submission.run} cannot be started: {reason}; set python of the cluster "
            f"{submission.cluster} in the configuration to one that has {alternatives(needed, 'and')}"
        )


def _job(place: Path) -> JobFile:
    path = place / files.BUNDLE / files.JOB_FILE
    return parse(JobFile, path.read_bytes(), str(path))


def _agents(submission: Submission, job: JobFile, start: str, secrets: Mapping[str, str]) -> Start:
    place = place_of(submission)
    environment = {
        **processes.kept(os.environ),
        "PYTHONPATH": str(place / files.BUNDLE / files.LIBRARY),
        **secret_environment(job, secrets),
    }
    visible = _visible_gpus(environment) if submission.nodes > 1 and job.device != "cpu" else []
    nodes = []
    for node in range(submission.nodes):
        mine = machine.gpus_of_node(visible, node, job.ranks_per_node)
        own = {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
        nodes.append(Agent(node, _command(submission, job, place, node, start), {**environment, **own}))
    return Start(submission.dir, submission.attempt, start, tuple(nodes), inherits=False)


def _command(submission: Submission, job: JobFile, place: Path, node: int, start: str) -> tuple[str, ...]:
    command = [job.python or sys.executable, "-m", _agent_module(place / files.BUNDLE / files.LIBRARY)]
    command += ["--bundle", str(place / files.BUNDLE), "--run-dir", submission.dir, "--node", str(node)]
    command += ["--attempt", str(submission.attempt), "--start", start, "--address", ADDRESS]
    command += ["--slot-lock", str(place / files.slot_lock(node))]
    return (*command, *start_arguments(submission))


def _agent_module(library: Path) -> str:
    """The module of the agent in a bundle's library; one of the version before has it under another name."""
    with zipfile.ZipFile(library) as archive:
        before = "orchestrator/agent/__main__.py" in archive.namelist()
    return "orchestrator.agent" if before else "orchestrator.job.agent"


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(machine.look(environment).gpu_count)]
