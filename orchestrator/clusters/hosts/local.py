"""LocalBackend: the Backend protocol on this machine."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.attempts import (
    place_of,
    refuse_other_run,
    secret_environment,
    start_arguments,
    start_id,
    upload_of,
)
from orchestrator.clusters.hosts import machine, reading
from orchestrator.clusters.hosts.group import ThisMachine
from orchestrator.clusters.hosts.watch import Watch
from orchestrator.clusters.transport import SECONDS
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.operations import Agent, Operation, ReadSlots, Start
from orchestrator.job.remote import agents, attempts
from orchestrator.job.system import failpoints
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.run import Observation, Question, Submission
from orchestrator.system import processes

T = TypeVar("T")
ADDRESS = "127.0.0.1"


class LocalBackend:
    """Runs below $ORCH_HOME/runs. All state is in their directories and in the agents."""

    kind = "local"
    pace = 0.0
    at_once = 1  # agents are forked

    def __init__(self, name: str, profile: Profile, home: Path | str) -> None:
        self._name = name
        self._profile = profile
        self._home = Path(home)
        self._watch = Watch(ThisMachine(), lambda: [reading.HERE], alone=True)

    def ready(self) -> None:
        """This machine is always there."""

    def probe(self) -> Cluster:
        found = machine.look(os.environ)
        first = found.gpus[0] if found.gpus else None
        profile = self._profile
        return Cluster(
            name=self._name,
            profile=profile,
            gpus_per_node=found.gpu_count or None,
            gpu=profile.gpu or (first.name if first else None),
            gpu_memory=profile.gpu_memory or (first.memory if first else None),
            host_memory=profile.host_memory or found.host_memory,
            device=found.device if profile.device == "auto" else profile.device,
            one_machine=True,
        )

    def hosts(self) -> Sequence[str]:
        return ()  # every node is this machine

    def run_dir(self, run: str) -> str:
        return str(self._home / "runs" / run)

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        start, place = start_id(submission), place_of(submission)
        try:
            uploaded = attempts.upload(upload_of(submission, bundle, {}))
            refuse_other_run(uploaded)
            if not uploaded.asked:
                failpoints.failpoint("start.uploaded")
                self._refuse_elsewhere(submission, start)
                agents.start(self._start(submission, start, secrets))
        except OSError as error:
            raise ClusterError(
                f"attempt {submission.attempt} of {submission.run} cannot be started in {place}: {error}",
                hint="see that the directory can be written to and has room",
            ) from error
        return f"{os.uname().nodename}:{start}"

    def _refuse_elsewhere(self, submission: Submission, start: str) -> None:
        nodes = tuple(range(submission.nodes))
        for slot in agents.slots(ReadSlots(submission.dir, submission.attempt, start, nodes)).slots:
            if slot.state == "elsewhere":
                started = f"attempt {submission.attempt} of {submission.run} was started on {slot.host}, not here"
                raise Unreachable(started)

    def _start(self, submission: Submission, start: str, secrets: Mapping[str, str]) -> Start:
        place = place_of(submission)
        path = place / "bundle" / files.JOB_FILE
        job = parse(JobFile, path.read_bytes(), str(path))
        environment = {
            **processes.kept(os.environ),
            "PYTHONPATH": str(place / "bundle" / files.LIBRARY),
            **secret_environment(job, secrets),
        }
        visible = _visible_gpus(environment) if submission.nodes > 1 and job.device != "cpu" else []
        nodes = []
        for node in range(submission.nodes):
            mine = machine.gpus_of_node(visible, node, job.ranks_per_node)
            own = {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
            nodes.append(Agent(node, _command(submission, job, place, node, start), {**environment, **own}))
        return Start(submission.dir, submission.attempt, start, tuple(nodes), inherits=False)

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        # One by one costs nothing here, and what is wrong with one run then hides no other.
        return observation.each(questions, lambda one: self._watch.observe([one])[one.submission.run])

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return self._watch.read(operations, seconds=seconds)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._watch.cancel(submission, now=now)


def _command(submission: Submission, job: JobFile, place: Path, node: int, start: str) -> tuple[str, ...]:
    command = [job.python or sys.executable, "-m", _agent(place / "bundle" / files.LIBRARY)]
    command += ["--bundle", str(place / "bundle"), "--run-dir", submission.dir, "--node", str(node)]
    command += ["--attempt", str(submission.attempt), "--start", start, "--address", ADDRESS]
    command += ["--slot-lock", str(place / files.slot_lock(node))]
    return (*command, *start_arguments(submission))


def _agent(library: Path) -> str:
    """The module of the agent in a bundle's library; one of the version before has it under another name."""
    with zipfile.ZipFile(library) as archive:
        before = "orchestrator/agent/__main__.py" in archive.namelist()
    return "orchestrator.agent" if before else "orchestrator.job.agent"


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(machine.look(environment).gpu_count)]
