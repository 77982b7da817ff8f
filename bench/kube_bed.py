"""The Kubernetes of the tests with orch at work in a namespace: where bench/kube.py measures."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bed import LIMIT, ORCH, PEERS, ROOT, lay_out

from testbeds.kubernetes.cluster import Cluster

SUSPENDED: Mapping[str, Any] = {"overlay": {"spec": {"suspend": True}}}  # whatever is submitted waits
# TorchX makes jobs of Volcano's. Here only their definition is served, without a schema, a webhook or a controller.
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
VOLCANO = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "jobs.batch.volcano.sh"},
    "spec": {
        "group": "batch.volcano.sh",
        "scope": "Namespaced",
        "names": {"kind": "Job", "plural": "jobs", "singular": "job", "listKind": "JobList"},
        "versions": [
            {
                "name": "v1alpha1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": _ANYTHING},
            }
        ],
    },
}  # fmt: skip
# The SDK's jobs can't be suspended by it: no JobSet comes of them, and so no pod.
NO_JOBSETS = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"count/jobsets.jobset.x-k8s.io": "0"}},
}
# A FlowSchema: by it the server counts the requests of one account apart. It lets them wait for nobody.
COUNTED = {"matchingPrecedence": 10, "priorityLevelConfiguration": {"name": "exempt"}}
_DISPATCHED = "apiserver_flowcontrol_dispatched_requests_total"


class Bed:
    """One ORCH_HOME, one configuration with the cluster `k8s`, one namespace, one job of one process."""

    def __init__(self, cluster: Cluster, name: str, **profile: Any) -> None:
        self.cluster = cluster
        self.space = cluster.namespace(f"bench-{name}")
        self.place: Path = cluster.root / "bench" / self.space.name
        self.home = self.place / "home"
        self.home.mkdir(parents=True)
        self.kubeconfig = self._account()
        self.environment = {
            **os.environ,
            "ORCH_HOME": str(self.home),
            "ORCH_CONFIG": str(self.place / "config.yaml"),
            "KUBECONFIG": str(cluster.kubeconfig),
        }
        k8s = {
            "kind": "kubernetes", "kubeconfig": str(self.kubeconfig), "namespace": self.space.name,
            "image": cluster.image, "claim": self.space.claim, "python": sys.executable, "device": "cpu",
            "job_kind": "jobset", **profile,
        }  # fmt: skip
        self.job = lay_out(self.place, "k8s", k8s, image="tiny:1", gpu=0)

    def _account(self) -> Path:
        """A kubeconfig of the account that manifests/ gives orch; the server counts what it asks."""
        name = self.space.name
        rights = (ROOT / "manifests" / "rbac.yaml").read_text()
        self.cluster.apply(re.sub(r"(namespace: |orch-)train\b", rf"\g<1>{name}", rights))
        account = {"kind": "ServiceAccount", "serviceAccount": {"name": "orch", "namespace": name}}
        rule = {
            "subjects": [account],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
            ],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }
        counted = {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": name},
            "spec": {**COUNTED, "rules": [rule]},
        }
        self.cluster.apply(json.dumps(counted))
        return self.cluster.kubeconfig_for(name, "orch")

    def program(self, script: str, *arguments: str, peers: bool = False) -> Any:
        """What a script of bench/ prints as JSON; `peers`: by the interpreter that has them."""
        argv = [str(PEERS / "python") if peers else sys.executable, str(ROOT / "bench" / script), *arguments]
        done = subprocess.run(
            argv, env=self.environment, cwd=self.place, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv[:4])} ended {done.returncode}: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def kubectl(self, *argv: str) -> list[str]:
        """A command line in this namespace."""
        return [str(self.cluster.binaries.program("kubectl")), "-n", self.space.name, *argv]

    def seconds(self, argv: list[str]) -> float:
        started = time.perf_counter()
        subprocess.run(argv, env=self.environment, cwd=self.place, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    def render(self, *names: str) -> Path:
        """A directory with one file for kubectl of each of these runs."""
        folder = self.place / "rendered"
        self.program("with_orch.py", "render", str(self.job), str(folder), *names)
        return folder

    @contextlib.contextmanager
    def controller(self) -> Iterator[int]:
        """`orch controller` for the runs of this bed; its process."""
        with (self.place / "controller.log").open("ab") as log:
            process = subprocess.Popen([*ORCH, "controller"], env=self.environment, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)

    def until(self, phase: str, runs: int) -> None:
        """Wait until the store has so many runs in a phase."""
        started = time.monotonic()
        while self.phases().count(phase) < runs:
            if time.monotonic() - started > LIMIT:
                said = (self.place / "controller.log").read_text()[-2000:]
                raise TimeoutError(f"{runs} runs are not {phase}: {said}")
            time.sleep(1)

    def phases(self) -> list[str]:
        """Of all runs, as the store has them."""
        argv = [*ORCH, "status", "--json"]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=True)
        return [run["phase"] for run in json.loads(done.stdout)]

    def clear(self) -> None:
        """Take all of it away, and wait until it is gone."""
        name = self.space.name
        self.cluster.kubectl("delete", "flowschema", name)
        self.cluster.delete_namespace(name)
        self.cluster.until(lambda: not self.cluster.get("namespace", name), seconds=LIMIT, hint=f"{name} is gone")
        shutil.rmtree(self.place)

    def asked(self) -> tuple[int, int]:
        """What this bed's account has asked so far, and how often anybody has read a log."""
        mine = logs = 0
        for line in self.cluster.kubectl("get", "--raw", "/metrics").splitlines():
            value = float(line.rpartition(" ")[2]) if line.startswith("apiserver_") else 0
            if line.startswith(_DISPATCHED) and f'flow_schema="{self.space.name}"' in line:
                mine += int(value)
            elif line.startswith("apiserver_request_total") and 'subresource="log"' in line:
                logs += int(value)
        return mine, logs


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """The cluster, up and idle."""
    made = Cluster()
    made.start()
    try:
        made.apply(json.dumps(VOLCANO))
        yield made
    finally:
        made.stop()


def versions() -> str:
    """Of what is measured."""
    listed = (ROOT / "bench" / "peers-requirements.txt").read_text()
    peers = re.findall(r"^(kubeflow|torchx)==(\S+)", listed, re.MULTILINE)
    load = f"load {os.getloadavg()[0]:.0f}"
    return ", ".join([*(f"{name} {version}" for name, version in peers), f"{os.cpu_count()} cores", load])
