"""From a pod's deletion, a kubelet's death and a preemption to the next step of a training, against the operator alone.

The floor is a bare JobSet of two pods under the same fault, from the fault until two pods run again, and with it the
time that this very training takes from its pods' start to its first step. Used by bench/kube.py.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from after_faults import KILLED, RUN, STEP, Times
from measure import Row

from testbeds.kubernetes.cluster import Cluster
from testbeds.kubernetes.operators import RESTRICTED
from tests.kubernetes.lab import TOLERATIONS, KubeLab, node_of
from tests.kubernetes.seats import RESOURCE, seats
from tests.kubernetes.test_faults import CONTROL
from tests.kubernetes.test_kueue import queue_of

ROUNDS = 1
LIMIT = 600.0  # seconds
KIND = "jobset"
# Of three nodes two are left.
SPARE = {"tolerations": [*TOLERATIONS, CONTROL]}
QUEUED = {"queue": "seats", "gpu_resource": RESOURCE, "overlay": seats(KIND)}

Fault = Callable[[Cluster, str], None]
Pods = list[dict[str, Any]]


def measure(made: Cluster) -> list[Row]:
    rows = [
        _row("a pod's deletion to the next step", made, pod_deleted, {}),
        # Its container goes on, and must not be through before the node is given up.
        _row("a kubelet's death to the next step", made, kubelet_dies, SPARE, step=10 * STEP),
    ]
    made.start_kueue()
    try:
        return [*rows, _row("preemption by Kueue to the next step", made, preempted, QUEUED)]
    finally:
        made.stop_kueue()


def _row(figure: str, made: Cluster, fault: Fault, profile: Mapping[str, Any], step: float = STEP) -> Row:
    times = Times()
    for _ in range(ROUNDS):
        times.bare.append(bare(made, fault, queued="queue" in profile))
        made.heal()
        start, orch = under_orch(made, fault, profile, step)
        times.start.append(start)
        times.orch.append(orch)
        made.heal()
    found = times.row(figure, "a bare JobSet's pods")
    print(" | ".join(found.cells()), file=sys.stderr, flush=True)
    return found


def bare(made: Cluster, fault: Fault, *, queued: bool) -> float:
    """Seconds from the fault until as many pods run as before, one of them new at the least."""
    name = made.namespace("bare").name
    if queued:
        open_queue(made, name)
    made.apply(json.dumps(jobset(made, name, "bare", seconds=3600, queued=queued)))
    before = until_two_run(made, name, but=set())
    time.sleep(2)
    started = time.monotonic()
    fault(made, name)
    until_two_run(made, name, but=before)
    return time.monotonic() - started


def until_two_run(made: Cluster, namespace: str, *, but: set[str]) -> set[str]:
    """Wait until two pods run that are not just `but`; their ids."""

    def there() -> set[str]:
        ids = {pod["metadata"]["uid"] for pod in living(made, namespace)}
        return ids if len(ids) == 2 and ids != but else set()

    found: set[str] = made.until(there, seconds=LIMIT, hint="two pods run")
    return found


def living(made: Cluster, namespace: str) -> Pods:
    """The pods that run and were not asked to leave, but for those of the job that preempts; by their number."""
    pods = (
        pod
        for pod in made.items("pods", "-n", namespace)
        if pod["status"].get("phase") == "Running"
        and "deletionTimestamp" not in pod["metadata"]
        and not pod["metadata"]["name"].startswith("urgent")
    )
    return sorted(pods, key=node_of)


def under_orch(made: Cluster, fault: Fault, profile: Mapping[str, Any], step: float) -> tuple[float, float]:
    """Seconds from the pods' start to the first step, and from the fault to the first step after it."""
    with laboratory(made, profile) as lab:
        space = lab.space.name
        lab.orch("submit", str(lab.job(RUN, seconds=step)))
        until_two_run(made, space, but=set())
        began = time.monotonic()
        until_step(lab, 1, 1)
        start = time.monotonic() - began
        until_step(lab, 1, KILLED)
        started = time.monotonic()
        fault(made, space)
        until_step(lab, 2, 1)
        return start, time.monotonic() - started


@contextlib.contextmanager
def laboratory(made: Cluster, profile: Mapping[str, Any]) -> Iterator[KubeLab]:
    lab = KubeLab(made, made.root / "bench" / f"faults-{time.monotonic_ns()}", KIND, **profile)
    if "queue" in profile:
        open_queue(made, lab.space.name)
    try:
        yield lab
    finally:
        lab.orch("cancel", RUN, "--now", check=False)
        lab.kill_orch()


def until_step(lab: KubeLab, generation: int, step: int) -> None:
    hint = f"step {step} of generation {generation}"
    lab.until(lambda: lab.step(RUN) >= (generation, step), seconds=LIMIT, hint=hint)


def pod_deleted(made: Cluster, namespace: str) -> None:
    """As by `kubectl delete pod`, of the second node."""
    made.kubectl("delete", "pod", living(made, namespace)[-1]["metadata"]["name"], "-n", namespace, "--wait=false")


def kubelet_dies(made: Cluster, namespace: str) -> None:
    """Of the second node, or of the first where that one has the operators; the containers there go on."""
    nodes = [pod["spec"]["nodeName"] for pod in living(made, namespace)]
    made.kill_kubelet([node for node in nodes if node != "control"][-1])


def preempted(made: Cluster, namespace: str) -> None:
    """A job of higher priority wants the seats of this one, for a few seconds."""
    made.apply(json.dumps(jobset(made, namespace, "urgent", seconds=3, queued=True)))


def open_queue(made: Cluster, namespace: str) -> None:
    for node in ("node-1", "node-2"):
        made.set_capacity(node, {RESOURCE: 2})
    for document in queue_of(namespace):
        made.apply(json.dumps(document))


def jobset(made: Cluster, namespace: str, name: str, *, seconds: int, queued: bool) -> dict[str, Any]:
    """Two pods that only sleep."""
    labels = {"kueue.x-k8s.io/queue-name": "seats"} if queued else {}
    if name == "urgent":
        labels["kueue.x-k8s.io/priority-class"] = name
    wanted = {"cpu": "100m", **({RESOURCE: "1"} if queued else {})}
    container = {
        "name": "node", "image": made.image, "command": ["sleep", str(seconds)], "securityContext": RESTRICTED,
        "resources": {"requests": wanted, "limits": wanted},
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "tolerations": TOLERATIONS,
        "containers": [container],
    }  # fmt: skip
    job = {"completionMode": "Indexed", "parallelism": 2, "completions": 2, "template": {"spec": pod}}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicatedJobs": [{"name": "node", "template": {"spec": job}}]},
    }
