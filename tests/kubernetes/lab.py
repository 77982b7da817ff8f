"""A run on the Kubernetes test bed: submitted by orch or applied by hand, watched through its files on the claim."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.run import Run
from orchestrator.store import open_store
from testbeds import proc
from testbeds.kubernetes.access import Access
from tests.faults.lab import TEXT, Lab
from tests.slurm.lab import CODE, DS_CONFIG, EVERY, SLOW, STEPS

__all__ = ["EVERY", "KINDS", "SLOW", "STEPS", "KubeLab"]

KINDS = ("pytorchjob", "jobset", "trainjob")
PLURALS = {"pytorchjob": "pytorchjobs", "jobset": "jobsets", "trainjob": "trainjobs"}
# What dies of itself on this machine is meant to be noticed soon.
TOLERATIONS = [
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    for taint in ("not-ready", "unreachable")
]


class KubeLab(Lab):
    """One ORCH_HOME, one namespace that enforces `restricted`, one claim, whose directory this machine sees."""

    def __init__(self, cluster: Access, root: Path, kind: str = "pytorchjob", **profile: Any) -> None:
        super().__init__(root)
        self.cluster = cluster
        self.kind = kind
        self.space = cluster.namespace(f"orch-{root.name}")
        assert self.space.shared is not None
        self.shared = self.space.shared
        self.config = root / "config.yaml"
        self.home.mkdir()
        self.profile(**profile)
        self.env["ORCH_CONFIG"] = str(self.config)
        self.env.pop("KUBECONFIG", None)

    def profile(self, **changes: Any) -> None:
        """Write the configuration; a value of None takes a key away."""
        profile = {
            "kind": "kubernetes", "kubeconfig": str(self.cluster.kubeconfig), "namespace": self.space.name,
            "image": self.cluster.image, "claim": self.space.claim, "python": sys.executable, "device": "cpu",
            "job_kind": self.kind, "tolerations": TOLERATIONS,
            "env": {"OMP_NUM_THREADS": "1"}, **changes,
        }  # fmt: skip
        k8s = {key: value for key, value in profile.items() if value is not None}
        self.config.write_text(json.dumps({"default": "k8s", "clusters": {"k8s": k8s}}))

    def job(
        self, name: str = "tiny", *, seconds: float = 0.0, after: int = 0, slow: int = 1, deaf: bool = False,
        **changes: Any,
    ) -> Path:  # fmt: skip
        """A job of two nodes with one rank each; see SlurmLab.job."""
        code = self.jobs / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text((CODE / "train.py").read_text())
        return super().job(
            name,
            **{
                "model": None, "data": None, "training": None, "code": "code",
                "run": f"train.py --steps {STEPS} --seconds {seconds} --after {after} --slow {slow}{' --deaf' * deaf}",
                "deepspeed": {"zero": 2, "config": DS_CONFIG},
                "resources": {"nodes": 2, "gpus_per_node": 1},
                "checkpoint": {"dir": "ckpt", "every": EVERY, "keep": 3},
                **changes,
            },
        )  # fmt: skip

    def quickstart(self, name: str = "quick", *, ranks: int = 2, steps: int = 20) -> Path:
        """A job for orch's own trainer; its text lies on the claim."""
        (self.shared / "text.txt").write_text(TEXT)
        training = {"steps": steps, "global_batch": 8, "learning_rate": 1e-3, "precision": "fp32", "seed": 1}
        return super().job(name, training=training, resources={"nodes": 2, "gpus_per_node": ranks})

    def script(self, name: str, text: str, **changes: Any) -> Path:
        """A job with a script of its own, which need not train."""
        path = self.job(name, run=f"{name}.py", **changes)
        (self.jobs / "code" / f"{name}.py").write_text(text)
        return path

    def by_hand(self, job: Path, *options: str) -> str:
        """Render the job as one stream and apply it with kubectl; its name. No orch process is left."""
        stream = self.orch("render", str(job), "-c", "k8s", "-o", "-", *options).stdout
        self.cluster.apply(stream)
        return f"orch-{job.stem}-1"

    def kubectl(self, *argv: str, **how: Any) -> str:
        return self.cluster.kubectl("-n", self.space.name, *argv, **how)

    def checkpoints(self, run: str) -> Path:
        return self.shared / "runs" / run / "ckpt"

    def objects(self, run: str) -> list[str]:
        """Names of the job objects of a run, of whatever kind."""
        found = []
        for plural in PLURALS.values():
            listed = self.kubectl("get", plural, "-l", f"orch/run={run}", "-o", "name")
            found += [name.partition("/")[2] for name in listed.split()]
        return sorted(found)

    def pods(self, run: str, *, attempt: int | None = None) -> list[dict[str, Any]]:
        """The pods of a run as the server has them, by node."""
        selector = f"orch/run={run}" + (f",orch/attempt={attempt}" if attempt is not None else "")
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return sorted(items, key=node_of)

    def pod(self, run: str, node: int) -> dict[str, Any]:
        """The living pod of a node."""
        return next(
            pod
            for pod in self.pods(run)
            if node_of(pod) == node
            and pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        )

    def last_words(self, run: str) -> list[dict[str, Any]]:
        """What the agents in pods that have ended said, by node."""
        ends = (
            container["state"].get("terminated", {})
            for pod in self.pods(run)
            for container in pod["status"].get("containerStatuses", [])
        )
        return [json.loads(end["message"]) for end in ends if end.get("message")]

    def condition(self, name: str) -> str:
        """The newest condition of a job object that is true, as kubectl shows it."""
        found = json.loads(self.kubectl("get", PLURALS[self.kind], name, "-o", "json"))
        true = [one["type"] for one in found.get("status", {}).get("conditions", []) if one["status"] == "True"]
        return true[-1] if true else ""

    def until(self, what: Callable[[], Any], *, seconds: float = 300, hint: str = "") -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.5)  # most of these questions start a process
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def until_phase(self, run: str, *phases: str, seconds: float = 300) -> dict[str, Any]:
        return self.until_recorded(run, lambda one: one.phase in phases, hint=" or ".join(phases), seconds=seconds)

    def until_told(self, run: str, words: str, *, seconds: float = 300) -> dict[str, Any]:
        return self.until_recorded(run, lambda one: words in one.because, hint=f"told: {words!r}", seconds=seconds)

    def until_recorded(
        self, run: str, what: Callable[[Run], bool], *, hint: str, seconds: float = 300
    ) -> dict[str, Any]:
        """What `orch status` shows once a run is as wanted; a process a look would take half of this machine."""
        with open_store(self.home) as store:

            def there() -> dict[str, Any] | None:
                if not what(store.get(run)):
                    return None
                status = self.status(run)
                return status if what(store.get(run)) else None

            found: dict[str, Any] = self.until(there, seconds=seconds, hint=f"{run} is {hint}: {store.get(run)}")
        return found

    def finish(self, run: str, *, seconds: float = 500) -> dict[str, Any]:
        return super().finish(run, seconds=seconds)

    def until_success(self, run: str, *, seconds: float = 500) -> None:
        """Wait for the success marker of the newest generation, by the run's own files."""
        self.until(
            lambda: any((path / "success.json").exists() for path in self.generations(run)),
            seconds=seconds,
            hint=f"{run} has finished",
        )

    def as_if_nothing_had_happened(
        self, expected: dict[int, float], run: str = "tiny", *, seconds: float = 500
    ) -> None:
        """The run that orch follows ends complete, each step once, with the losses of an undisturbed one."""
        self.finish(run, seconds=seconds)
        for losses in (self.counted(run), self.losses(run)):
            assert sorted(losses) == list(range(1, STEPS + 1))
            assert losses == pytest.approx(expected, abs=1e-6)

    def story(self) -> str:
        logs = [*self.root.glob("home/controller.log"), *self.root.glob("home/runs/*/pods/*/*.log")]
        logs += list(self.shared.glob("runs/*/ckpt/generations/*/outcome.json"))
        told = "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
        shown = self.kubectl("get", f"{','.join(PLURALS.values())},pods", "-o", "wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:]
        return f"{told}\n{shown}\n{events}"

    def kill_orch(self) -> None:
        """kill -9 of every orch process of this machine that is in no pod: the controller."""
        for pid, line in list(self._mine()):
            if "orchestrator" in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _mine(self) -> Iterator[tuple[int, str]]:
        for pid, line in super()._mine():
            if b"ORCH_POD_UID=" not in proc.environment(pid):
                yield pid, line


def node_of(pod: dict[str, Any]) -> int:
    """The number of a pod's node, by the operator's labels."""
    labels = pod["metadata"]["labels"]
    index = labels.get("training.kubeflow.org/replica-index") or labels.get("batch.kubernetes.io/job-completion-index")
    return int(index) + (labels.get("training.kubeflow.org/replica-type") == "worker")
