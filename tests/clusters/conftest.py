"""Places to run the contract suite on: a row for each backend that can be submitted to on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters import Backend, open_backend
from orchestrator.clusters.attempts import start_id
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.kubernetes.profile import KubernetesProfile
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.job.system.proc import carriers, send
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Observation, Phase, Question, Submission
from orchestrator.model.spec import Checkpoint, Resources, Secret, Spec
from orchestrator.runs.prepare import prepare
from testbeds import proc
from testbeds.kubernetes.access import Access, Space
from testbeds.slurm.cluster import Cluster
from testbeds.ssh import hosts

LIVE = {Phase.QUEUED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING}
GIB = 2**30
SECRET = "open-sesame-4711"


@dataclass
class Place:
    """A backend, and how to make, watch and hurt attempts on it."""

    backend: Backend
    work: Path
    made: list[Submission] = field(default_factory=list)
    close: Callable[[], None] = lambda: None
    starts_again: bool = False  # by itself, what was killed and had claimed a generation
    patience: float = 240  # seconds

    def attempt(
        self, script: str, *, name: str = "tiny", nodes: int = 2, number: int = 1, secrets: tuple[str, ...] = ()
    ) -> tuple[Submission, Bundle]:
        """An attempt of a job whose script is Python text; nothing is handed over yet."""
        code = self.work / name
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(textwrap.dedent(script))
        spec = Spec(
            name=name,
            run=shlex.join(["train.py"]),
            code=name,
            resources=Resources(nodes=nodes),
            checkpoint=Checkpoint(dir="ckpt"),
            secrets={secret: self.secret(secret) for secret in secrets},
        )
        prepared = prepare(spec, self.backend, job_dir=str(self.work))
        run_dir = self.backend.run_dir(name)
        submission = Submission(
            run=name,
            run_id=prepared.run_id,
            attempt=number,
            cluster=prepared.cluster.name,
            digest=prepared.bundle.digest,
            dir=run_dir,
            checkpoint_dir=f"{run_dir}/ckpt",
            bundle_file="",
            nodes=nodes,
        )
        self.made.append(submission)
        return submission, prepared.bundle

    def secret(self, name: str) -> Secret:
        """Where a job finds a secret of that name, which each test gives to `submit`, too."""
        return Secret(env=f"MY_{name}")  # under another name here than in the job

    def directory(self, submission: Submission) -> Path:
        """The run's directory, as this machine sees it."""
        return Path(submission.dir)

    def leave_word(self, submission: Submission) -> None:
        """What a cancel does first, whose asker is killed then."""
        (self.directory(submission) / "attempts/000001/asked.json").write_text("{}")

    def see(self, submission: Submission, **wanted: Any) -> Observation:
        """The answer to a question: without more `wanted` about the state alone."""
        return self.backend.observe([Question(submission=submission, **wanted)])[submission.run]

    def until(
        self, submission: Submission, what: Callable[[Observation], bool], *, seconds: float | None = None
    ) -> Observation:
        end = time.monotonic() + (seconds or self.patience)
        while not what(seen := self.see(submission)):
            logs = "".join(path.read_text() for path in self.directory(submission).glob("attempts/*/*.log"))
            assert time.monotonic() < end, f"{seen}\n{logs}"
            time.sleep(0.1)
        return seen

    def processes(self, submission: Submission) -> list[int]:
        return list(carriers(f"ORCH_START={start_id(submission)}"))

    def agents(self, submission: Submission) -> list[int]:
        """Without what an agent has just forked: until it executes something, it looks like the agent."""
        found = [pid for pid in self.processes(submission) if b"orchestrator.job.agent\0" in proc.command(pid)]
        return [pid for pid in found if proc.parent(pid) not in found]

    def kill(self, submission: Submission) -> None:
        """Kill all of an attempt, so that nothing of it is left to go on."""
        while pids := self.processes(submission):
            for pid in pids:
                send(pid, signal.SIGKILL)


class SlurmPlace(Place):
    """An attempt's processes are its agents and ranks, not the job's script, which would queue it again."""

    def processes(self, submission: Submission) -> list[int]:
        hostfile = f"ORCH_HOSTFILE={self._attempt(submission)}/"
        return [pid for pid, command in self._tasks(hostfile) if not command.startswith(b"srun\0")]

    def kill(self, submission: Submission) -> None:
        for pid in self.processes(submission):
            send(pid, signal.SIGSTOP)  # else Slurm tells them to stop when the script has died, and they write that
        claim = self._attempt(submission) / "job"
        job = f"SLURM_JOB_ID={claim.read_text().strip()}\0" if claim.exists() else f"{claim}"
        for pid, command in self._tasks(job):
            if b"/slurm_script\0" in command:
                send(pid, signal.SIGKILL)
        super().kill(submission)

    def _attempt(self, submission: Submission) -> Path:
        return Path(submission.dir, "attempts", f"{submission.attempt:06d}")

    def _tasks(self, mark: str) -> Iterator[tuple[int, bytes]]:
        """Processes of this cluster's jobs whose environment has a mark, and their command lines."""
        conf = f"SLURM_CONF={os.environ['SLURM_CONF']}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command and mark.encode() in environment and conf in environment.split(b"\0"):
                yield int(entry.name), command


class KubePlace(Place):
    """An attempt's processes are those of its containers, which this machine sees; its kill is a failed job."""

    space: Space
    cluster: Access

    def secret(self, name: str) -> Secret:
        literal = f"--from-literal=value={SECRET}"
        self.cluster.kubectl("-n", self.space.name, "create", "secret", "generic", name.lower(), literal)
        return Secret(kubernetes=f"{name.lower()}/value")

    def directory(self, submission: Submission) -> Path:
        assert self.space.shared is not None
        return self.space.shared / "runs" / submission.run

    def leave_word(self, submission: Submission) -> None:
        label = ("label", "configmap", submission.name, "orch/asked=yes")
        self.cluster.kubectl("-n", self.space.name, *label)

    def processes(self, submission: Submission) -> list[int]:
        uids = [pod["metadata"]["uid"] for pod in self._pods(submission)]
        return [pid for uid in uids for pid in carriers(f"ORCH_POD_UID={uid}")]

    def kill(self, submission: Submission) -> None:
        """Its operator is told that it has failed before it can start anything again."""
        failed = {"type": "Failed", "status": "True", "reason": "Test", "message": "as a test wants it"}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        patch = {"status": {"conditions": [{**failed, "lastTransitionTime": now, "lastUpdateTime": now}]}}
        words = (
            "patch",
            "pytorchjob",
            submission.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps(patch),
        )
        self.cluster.kubectl("-n", self.space.name, *words, check=False)
        super().kill(submission)

    def _pods(self, submission: Submission) -> list[dict[str, Any]]:
        selector = f"orch/run-id={submission.run_id},orch/attempt={submission.attempt}"
        listed = self.cluster.get("pods", "-n", self.space.name, "-l", selector)
        found: list[dict[str, Any]] = listed.get("items", [])
        return found


def _local(_: pytest.FixtureRequest, home: Path, work: Path) -> Place:
    return Place(open_backend("local", Profile(kind="local", device="cpu"), home), work)


def _ssh(_: pytest.FixtureRequest, __: Path, work: Path) -> Place:
    reason = hosts.missing()
    if reason is not None:
        pytest.skip(reason)
    bed = hosts.Bed(2)
    profile = SshProfile(
        kind="ssh",
        hosts=tuple(bed.names),
        ssh_config=str(bed.config),
        shared_dir=str(bed.shared),
        python=sys.executable,
        device="cpu",
    )
    return Place(open_backend("lab", profile, work), work, close=bed.close)


def _slurm(request: pytest.FixtureRequest, _: Path, work: Path) -> Place:
    cluster: Cluster = request.getfixturevalue("slurm_cluster")
    request.getfixturevalue("monkeypatch").setenv("SLURM_CONF", str(cluster.conf))
    profile = SlurmProfile(
        kind="slurm",
        shared_dir=str(cluster.directory(request.node.name)),
        python=sys.executable,
        device="cpu",
        memory=GIB,
        poll=0.2,
    )
    return SlurmPlace(open_backend("hpc", profile, work), work, close=cluster.heal, starts_again=True)


def _kubernetes(request: pytest.FixtureRequest, home: Path, work: Path) -> Place:
    cluster: Access = request.getfixturevalue("kube_cluster")
    space = cluster.namespace("contract")
    if space.shared is None:
        pytest.skip("this suite reads the claim, which this machine does not see")
    profile = KubernetesProfile(
        kind="kubernetes",
        kubeconfig=str(cluster.kubeconfig),
        namespace=space.name,
        image=cluster.image,
        claim=space.claim,
        python=sys.executable,
        device="cpu",
        job_kind="pytorchjob",
    )
    backend = open_backend("k8s", profile, home)
    place = KubePlace(backend, work, close=lambda: cluster.delete_namespace(space.name), starts_again=True)
    place.space, place.cluster = space, cluster
    return place


PLACES = {"kubernetes": _kubernetes, "local": _local, "slurm": _slurm, "ssh": _ssh}


# `local` has every case. What the other kinds do in their own way is in `make test`, the rest in `make test-full`.
CORE = {
    "test_an_attempt_lives_and_then_has_succeeded",
    "test_the_same_attempt_handed_over_again_is_adopted",
    "test_a_cancel_ends_every_process_and_later_hand_overs_start_nothing",
    "test_secrets_reach_the_job_and_no_file",
}
IN_TEST = {
    "kubernetes": CORE,
    "ssh": {
        *CORE,
        "test_an_attempt_whose_processes_were_all_killed_is_lost",
        "test_an_agent_that_is_killed_alone_takes_its_ranks_with_it_and_the_others_end",
    },
    "slurm": {
        *CORE,
        "test_a_cancel_before_the_hand_over_lets_nothing_start",
        "test_an_attempt_whose_processes_were_all_killed_is_lost",
        "test_an_attempt_that_is_older_than_the_newest_claim_is_fenced",
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        place = getattr(getattr(item, "callspec", None), "params", {}).get("place")
        if place in IN_TEST and getattr(item, "originalname", "") not in IN_TEST[place]:
            item.add_marker(pytest.mark.full)


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, orch_home: Path, tmp_path: Path) -> Iterator[Place]:
    work = tmp_path / "work"
    work.mkdir()
    os.environ.pop("ORCH_FAULT", None)
    made = PLACES[request.param](request, orch_home, work)
    yield made
    for submission in made.made:
        made.kill(submission)
    made.close()
