"""LocalBackend: the Backend protocol on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.local import machine, reading
from orchestrator.clusters.local.slots import (
    Slot,
    State,
    attempt_dir,
    lock_path,
    read_json,
    read_slot,
    start_id,
    this_host,
    write_mark,
)
from orchestrator.clusters.transport import SECONDS, LocalTransport
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import Operation
from orchestrator.job.system import lock, proc
from orchestrator.job.system.atomic import replacing, write_json
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.run import Observation, Question, Submission
from orchestrator.system import failpoints, processes

T = TypeVar("T")
KILL_SECONDS = 10.0
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
                _own(submission)
                if not (directory / "asked.json").exists():
                    _write_bundle(bundle, directory / "bundle")
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
                _ask_once(directory)
                slots = [read_slot(directory, node, start) for node in range(submission.nodes)]
        except OSError as error:
            raise ClusterError(f"cannot cancel attempt {submission.attempt} of {submission.run}: {error}") from error
        if now:
            _kill(start)
        else:
            _ask(slots)  # each time: whoever asked before may have died on the way, and an agent keeps the first signal


def _command(submission: Submission, job: Mapping[str, Any], directory: Path, node: int, start: str) -> list[str]:
    command = [job["python"] or sys.executable, "-m", "orchestrator.job.agent"]
    command += ["--bundle", str(directory / "bundle"), "--run-dir", submission.dir, "--node", str(node)]
    command += ["--attempt", str(submission.attempt), "--start", start, "--address", ADDRESS]
    command += ["--slot-lock", str(lock_path(directory, node))]
    if submission.from_step is not None:
        command += ["--from-step", str(submission.from_step)]
    if submission.from_scratch:
        command += ["--from-scratch"]
    return command


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(machine.look(environment).gpu_count)]


def _write_bundle(bundle: Bundle, target: Path) -> None:
    """Write all files beside the target and rename the whole: a bundle is there completely or not at all."""
    if target.exists():
        return
    with replacing(target, sync=False) as temporary:
        for file in bundle.files:
            path = temporary / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(0o755 if file.executable else 0o644)


def _own(submission: Submission) -> None:
    """Refuse a run directory that holds another run, from a store that is lost. Raises ClusterError."""
    path = Path(submission.dir) / "run.json"
    owner = read_json(path)
    if owner is None:
        write_json(path, {"run": submission.run, "run_id": submission.run_id})
    elif owner.get("run_id") != submission.run_id:
        raise ClusterError(
            f"{submission.dir} holds another run of that name, with the id {owner.get('run_id')}",
            hint="move that directory away, or give this run another name",
        )


def _ask_once(directory: Path) -> bool:
    path = directory / "asked.json"
    if read_json(path) is not None:
        return False
    write_json(path, {"time": time.time()})
    return True


def _ask(slots: Sequence[Slot]) -> None:
    for slot in slots:
        if slot.pid is not None and slot.state in {State.LIVE, State.BOOTING}:
            proc.send(slot.pid, signal.SIGTERM)


def _kill(start: str) -> None:
    """SIGKILL every process of a start, again and again until none is left: some may be starting others."""
    if left := proc.kill_all(lambda: proc.carriers(f"ORCH_START={start}"), seconds=KILL_SECONDS):
        raise Unreachable(f"processes {left} of start {start} do not die; they may wait for a disk")
