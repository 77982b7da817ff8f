"""LocalBackend: the Backend protocol on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.attempts import refuse_other_run, start_arguments, start_id, upload_of
from orchestrator.clusters.local import machine, reading
from orchestrator.clusters.local.slots import (
    Slot,
    State,
    attempt_dir,
    lock_path,
    read_slot,
    this_host,
    write_mark,
)
from orchestrator.clusters.transport import SECONDS, LocalTransport
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import Kill, Operation, RequestStop
from orchestrator.job.remote import agents, attempts
from orchestrator.job.system import lock, proc
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.run import Observation, Question, Submission
from orchestrator.system import failpoints, processes

T = TypeVar("T")
ADDRESS = "127.0.0.1"


class LocalBackend:
    """Runs below $ORCH_HOME/runs. Holds nothing between calls: all state is on disk and in the agents' locks."""

    kind = "local"
    pace = 0.0
    at_once = 1  # agents are forked

    def __init__(self, name: str, profile: Profile, home: Path | str) -> None:
        self._name = name
        self._profile = profile
        self._home = Path(home)

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

    # --- submit

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        directory = attempt_dir(submission)
        start = start_id(submission)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with lock.holding(directory / "submit.lock"):
                uploaded = attempts.upload(upload_of(submission, bundle, {}))
                refuse_other_run(uploaded)
                if not uploaded.asked:
                    failpoints.failpoint("local.bundle")
                    self._start_missing(submission, directory, start, secrets)
        except OSError as error:
            raise ClusterError(
                f"attempt {submission.attempt} of {submission.run} cannot be started in {directory}: {error}",
                hint="see that the directory can be written to and has room",
            ) from error
        return f"{this_host()}:{start}"

    def _start_missing(self, submission: Submission, directory: Path, start: str, secrets: Mapping[str, str]) -> None:
        job = json.loads((directory / "bundle" / "job.json").read_text(encoding="utf-8"))
        slots = [read_slot(directory, node, start) for node in range(submission.nodes)]
        elsewhere = next((slot.host for slot in slots if slot.host not in {None, this_host()}), None)
        if elsewhere is not None:
            raise Unreachable(f"attempt {submission.attempt} of {submission.run} was started on {elsewhere}, not here")
        environment = self._environment(directory, start, secrets)
        visible = _visible_gpus(environment) if submission.nodes > 1 and job["device"] != "cpu" else []
        for slot in slots:
            if slot.state is not State.UNUSED:
                continue
            mine = machine.gpus_of_node(visible, slot.node, job["ranks_per_node"])
            own = {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
            pid = processes.start_detached(
                _command(submission, job, directory, slot.node, start),
                environment={**environment, **own},
                directory=submission.dir,
                output=directory / f"agent-{slot.node}.log",
            )
            failpoints.failpoint("local.agent")
            write_mark(directory, slot.node, pid, start)
            failpoints.failpoint("local.slot")

    def _environment(self, directory: Path, start: str, secrets: Mapping[str, str]) -> dict[str, str]:
        return {
            **processes.kept(os.environ),
            "PYTHONPATH": str(directory / "bundle" / "lib.zip"),
            "PYTHONUNBUFFERED": "1",
            "ORCH_START": start,
            **secrets,
        }

    # --- observe

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        return observation.each(questions, reading.observe)

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return LocalTransport().call_all(operations, seconds=seconds)

    # --- cancel

    def cancel(self, submission: Submission, *, now: bool) -> None:
        directory = attempt_dir(submission)
        start = start_id(submission)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with lock.holding(directory / "submit.lock"):
                attempts.request_stop(RequestStop(submission.dir, submission.attempt))
                slots = [read_slot(directory, node, start) for node in range(submission.nodes)]
        except OSError as error:
            raise ClusterError(f"cannot cancel attempt {submission.attempt} of {submission.run}: {error}") from error
        if now:
            if left := agents.kill(Kill(start)).pids:
                raise Unreachable(f"processes {list(left)} of start {start} do not die; they may wait for a disk")
        else:
            _ask(slots)  # each time: whoever asked before may have died on the way, and an agent keeps the first signal


def _command(submission: Submission, job: Mapping[str, Any], directory: Path, node: int, start: str) -> list[str]:
    command = [job["python"] or sys.executable, "-m", "orchestrator.job.agent"]
    command += ["--bundle", str(directory / "bundle"), "--run-dir", submission.dir, "--node", str(node)]
    command += ["--attempt", str(submission.attempt), "--start", start, "--address", ADDRESS]
    command += ["--slot-lock", str(lock_path(directory, node))]
    return [*command, *start_arguments(submission)]


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(machine.look(environment).gpu_count)]


def _ask(slots: Sequence[Slot]) -> None:
    for slot in slots:
        if slot.pid is not None and slot.state in {State.LIVE, State.BOOTING}:
            proc.send(slot.pid, signal.SIGTERM)
