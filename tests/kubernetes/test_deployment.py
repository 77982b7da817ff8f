"""manifests/controller.yaml in a cluster: runs that are submitted inside end well, whatever becomes of its pod."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbeds.kubernetes.access import Space
from testbeds.kubernetes.cluster import Cluster
from tests.kubernetes import handouts
from tests.kubernetes.inprocess import QUIET, quiet

full = pytest.mark.full
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
IMAGE = "docker.io/local/orch:1"
SECRET = "not-for-everyone-0123456789"
SCRIPT = "import os; print('with a secret of', len(os.environ['HF_TOKEN']))"
SUBMIT = "mkdir -p /tmp/job/code && cat >/tmp/job/job.yaml && echo {script} | base64 -d >/tmp/job/code/say.py && "
POINTS = ("submit.recorded", "kubernetes.files", "kubernetes.job", "handover.submitted")


class Inside:
    """A controller in its pod, and commands beside it."""

    def __init__(self, cluster: Cluster, space: Space) -> None:
        self.cluster = cluster
        self.space = space

    def start(self, **profile: Any) -> None:
        where = {"image": self.cluster.image, "python": sys.executable, "device": "cpu", "job_kind": "jobset"}
        documents = [*handouts.account(self.space), *handouts.controller(self.space, IMAGE, where | profile)]
        self.cluster.apply(yaml.safe_dump_all(documents))
        self.await_pod()

    def await_pod(self) -> None:
        self.kubectl("rollout", "status", "deploy/orch-controller", "--timeout=60s")

    def kubectl(self, *argv: str, **how: Any) -> str:
        return self.cluster.kubectl("-n", self.space.name, *argv, **how)

    def pod(self) -> str:
        selector = "app.kubernetes.io/name=orch-controller"
        [pod] = self.cluster.get("pods", "-n", self.space.name, "-l", selector)["items"]
        return str(pod["metadata"]["name"])

    def orch(self, *argv: str) -> str:
        return self.kubectl("exec", "deploy/orch-controller", "--", "python3", "-m", "orchestrator", *argv)

    def submit(self, name: str, *, fault: str = "", **changes: Any) -> int:
        """As the page of manifests/ says it; the exit status."""
        job = {
            "name": name, "code": "code", "run": "say.py", "resources": {"nodes": 1},
            "secrets": {"HF_TOKEN": {"kubernetes": "hub/token"}}, **changes,
        }  # fmt: skip
        script = SUBMIT.format(script=base64.b64encode(SCRIPT.encode()).decode())
        script += f"ORCH_FAULT={fault} python3 -m orchestrator submit /tmp/job/job.yaml"
        command = ("exec", "-i", "deploy/orch-controller", "--", "sh", "-c", script)
        done = self.cluster.said("-n", self.space.name, *command, input=json.dumps(job))
        assert fault or done.returncode == 0, done.stderr
        return done.returncode

    def until_phase(self, run: str, phase: str, *, seconds: float = 120) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            command = ("exec", "deploy/orch-controller", "--", "python3", "-m", "orchestrator", "status", run, "--json")
            done = self.cluster.said("-n", self.space.name, *command)
            if done.returncode:
                return None  # a controller that found the one before it still alive has ended, and begins again
            status: dict[str, Any] = json.loads(done.stdout)
            return status if status["phase"] == phase else None

        found: dict[str, Any] = self.cluster.until(there, seconds=seconds, hint=f"{run} is {phase}")
        return found

    def objects(self) -> list[str]:
        return self.kubectl("get", "jobsets,trainjobs,pytorchjobs", "-o", "name").split()


@pytest.fixture(scope="module")
def image(kube_bed: Cluster) -> None:
    """orch as an image: its modules and templates beside what the machine has."""
    extra = {ROOT / name: f"opt/orch/{name}" for name in ("orchestrator", "templates")}
    kube_bed.load_image(IMAGE, entrypoint=[], extra=extra, environment={"PYTHONPATH": "/opt/orch"})


@pytest.fixture
def inside(kube_bed: Cluster, image: None, request: pytest.FixtureRequest) -> Iterator[Inside]:
    space = kube_bed.namespace(request.node.name)
    made = Inside(kube_bed, space)
    made.kubectl("create", "secret", "generic", "hub", f"--from-literal=token={SECRET}")
    yield made
    kube_bed.delete_namespace(space.name)
    kube_bed.kubectl("delete", "clusterrole,clusterrolebinding", space.name, "--ignore-not-found")


@pytest.mark.full
def test_a_run_that_is_submitted_inside_is_carried_to_its_end(inside: Inside) -> None:
    inside.start()
    inside.submit("whole")
    status = inside.until_phase("whole", "succeeded")
    assert status["attempt"] == 1
    assert f"with a secret of {len(SECRET)}" in inside.orch("logs", "whole")
    everything = inside.kubectl("get", "pods,configmaps,jobsets,jobs,events", "-o", "json")
    for form in (SECRET, base64.b64encode(SECRET.encode()).decode()):
        assert form not in everything
        assert form not in inside.orch("events", "whole", "--json")
    reference = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    [jobset] = inside.cluster.get("jobsets", "-n", inside.space.name)["items"]
    assert (
        reference in jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["env"]
    )


@pytest.mark.parametrize(
    "point", [POINTS[1], *(pytest.param(point, marks=full) for point in POINTS if point != POINTS[1])]
)
def test_a_submission_that_was_cut_short_is_finished_by_the_next_controller(inside: Inside, point: str) -> None:
    """`orch submit` is killed, and the pod with it deleted, before its controller could see the run."""
    inside.start(overlay=quiet("jobset", f"echo {point}; {QUIET}"))
    before = inside.pod()
    inside.cluster.until(lambda: submitted_beside(inside, before, point) == 137, hint=f"it is killed at {point}")
    inside.kubectl("delete", "pod", before, "--grace-period=1")
    inside.await_pod()
    assert inside.pod() != before
    status = inside.until_phase("cut", "starting")
    assert status["attempt"] == 1
    assert inside.objects() == ["jobset.jobset.x-k8s.io/orch-cut-1"]
    inside.orch("cancel", "cut", "--now")
    inside.until_phase("cut", "cancelled")
    assert inside.objects() == []


def submitted_beside(inside: Inside, pod: str, fault: str) -> int:
    """The exit status of a submission while the pod's controller stands still: not with the store in its hands."""
    controller = inside.cluster.processes(inside.space.name, pod)
    for pid in controller:
        os.kill(pid, signal.SIGSTOP)
    status = inside.submit("cut", fault=fault)
    for pid in controller if status != 137 else ():
        os.kill(pid, signal.SIGCONT)
    return status
