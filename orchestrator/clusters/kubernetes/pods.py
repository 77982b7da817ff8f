"""The state of an attempt's pods: which run, hang on a dead node or cannot start, and their agents' last records.

Pure: PodObjects in, Pods out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.clusters.kubernetes.answers import ContainerStatus, PodObject, Terminated, condition
from orchestrator.clusters.kubernetes.manifests import ATTEMPT, RUN_ID
from orchestrator.job.protocol.encoding import parse
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.pod import LastRecord
from orchestrator.model.run import Cause

CONTAINERS = ("pytorch", "node")  # the agent's container, by the operators' names for it
# Reasons of a waiting container that only the user can fix.
_STUCK = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip
_NO_START = frozenset({"StartError", "ContainerCannotRun"})
_NUMBERS = ("training.kubeflow.org/replica-index", "batch.kubernetes.io/job-completion-index")
TAINTED = "untolerated taint"  # in the scheduler's message, which does not name the taint
OVERDUE = 30.0  # seconds after its grace period in which a pod on a living node is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of an attempt. `last_record` is its agent's newest one, `logged`: a container of it has run.

    `waits`: why it has not started; `stuck`: the same where waiting will not help. `lost`: its node does not answer
    and it will not end by itself. `ended_by`: the cause of its end by Kubernetes' status.
    """

    name: str
    uid: str
    number: int
    attempt: int
    run_id: str
    node: str | None
    phase: str
    created: str
    container: str = CONTAINERS[0]
    running: bool = False
    logged: bool = False
    leaving: bool = False
    lost: bool = False
    waits: str = ""
    stuck: str = ""
    last_record: LastRecord | None = None
    ended_by: Cause = Cause.NONE
    because: str = ""

    @property
    def alive(self) -> bool:
        """Whether a process of it may run, now or later."""
        return self.phase in {"Pending", "Running", "Unknown"} and not self.lost


def pods_of(objects: Iterable[PodObject], now: float) -> list[Pod]:
    """The agents' pods among these, oldest first. `now`: the server's clock."""
    found = [_pod(one, now) for one in objects]
    return sorted((pod for pod in found if pod is not None), key=lambda pod: (pod.created, pod.name))


def newest_of(pods: Iterable[Pod]) -> dict[int, Pod]:
    """The newest pod of each node."""
    return {pod.number: pod for pod in pods}


def _pod(pod: PodObject, now: float) -> Pod | None:
    number, attempt = _number(pod.labels), pod.labels.get(ATTEMPT, "")
    if number is None or not attempt.isdigit():
        return None
    status = next((one for one in pod.container_statuses if one.name in CONTAINERS), ContainerStatus())
    ended = status.terminated or status.terminated_before
    waits, stuck = _waiting(pod) if pod.phase == "Pending" else ("", "")
    cause, because = _end(pod, ended)
    return Pod(
        name=pod.name,
        uid=pod.uid,
        number=number,
        attempt=int(attempt),
        run_id=pod.labels.get(RUN_ID, ""),
        node=pod.node,
        phase=pod.phase,
        created=pod.created,
        container=next((one.name for one in pod.containers if one.name in CONTAINERS), CONTAINERS[0]),
        running=status.running is not None,
        logged=status.running is not None or ended is not None,
        leaving=pod.deleted is not None,
        lost=pod.deleted is not None and status.terminated is None and _is_lost(pod, now),
        waits=waits,
        stuck=stuck or _unstartable(ended),
        last_record=_last_record(ended.message) if ended is not None else None,
        ended_by=cause,
        because=because,
    )


def _number(labels: Mapping[str, str]) -> int | None:
    """The node's number: an operator's index, and in a PyTorchJob workers come after the master."""
    role = labels.get("training.kubeflow.org/replica-type")
    index = next((labels[name] for name in _NUMBERS if labels.get(name, "").isdigit()), None)
    if index is None:
        return None
    return int(index) + (1 if role == "worker" else 0)


def _is_lost(pod: PodObject, now: float) -> bool:
    """Whether no kubelet will end a pod that is being deleted: its node is unreachable, or the pod is overdue.

    A node that is only tainted by hand ends its pods itself; the pods of one that is gone are marked not ready.
    """
    target, ready = condition(pod.conditions, "DisruptionTarget"), condition(pod.conditions, "Ready")
    if target.reason == "DeletionByTaintManager" and ready.status == "False":
        return True
    due = _seconds(pod.deleted)
    return due is not None and now > 0 and now - due > OVERDUE


def _seconds(time: str | None) -> float | None:
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return None


def _waiting(pod: PodObject) -> tuple[str, str]:
    """(why it waits, why it can't start) of a pod that has not started."""
    scheduled = condition(pod.conditions, "PodScheduled")
    if scheduled.status == "False":
        message = " ".join((scheduled.message or scheduled.reason).split())
        because = f"it cannot be scheduled: {message}"
        return because, because if _never_schedulable(message) else ""
    for status in (*pod.init_containers, *pod.container_statuses):
        reason, message = status.waiting_reason, " ".join(status.waiting_message.split())
        if reason and reason not in {"ContainerCreating", "PodInitializing"}:
            because = f"{reason}{f': {message[:300]}' if message else ''}"
            return because, because if reason in _STUCK else ""
    return "", ""


def _never_schedulable(message: str) -> bool:
    """Whether waiting changes nothing: no reason of the scheduler's is a lack of room or of a free node."""
    if "persistentvolumeclaim" in message and "not found" in message:
        return True
    _, _, reasons = message.partition("nodes are available: ")
    reasons = reasons.partition(" preemption:")[0].partition(". ")[0]
    parts = [part.strip() for part in reasons.split(",") if part.strip()]
    return bool(parts) and all("affinity/selector" in part or TAINTED in part for part in parts)


def _last_record(message: str) -> LastRecord | None:
    """An agent's last record; None for another program's message."""
    if not message.startswith("{"):
        return None
    try:
        return parse(LastRecord, message)
    except RecordError:
        return None


def _end(pod: PodObject, ended: Terminated | None) -> tuple[Cause, str]:
    """How a pod ended by Kubernetes' status, for where its agent recorded nothing."""
    target = condition(pod.conditions, "DisruptionTarget")
    if pod.reason == "Evicted":
        message = " ".join(pod.message.split())
        full = "ephemeral-storage" in message or "disk" in message.lower()
        cause = Cause.DISK_FULL if full else Cause.HOST_OOM if "memory" in message else Cause.PREEMPTED
        return cause, f"its node evicted it: {message[:300]}"
    if ended is not None and ended.reason == "OOMKilled":
        return Cause.HOST_OOM, "its container used more memory than its limit (OOMKilled)"
    if target.status == "True" and target.reason.startswith("Preempt"):
        return Cause.PREEMPTED, f"it was preempted: {target.message}"
    if ended is None:
        return Cause.NONE, ""
    because = f"its container ended with status {ended.exit_code} ({ended.reason or 'Error'})"
    return Cause.NONE, because + _runtime_message(ended)


def _unstartable(ended: Terminated | None) -> str:
    """Why a container could not be started at all; operators take that for a failure and try again."""
    if ended is None or ended.reason not in _NO_START:
        return ""
    return ended.reason + _runtime_message(ended)


def _runtime_message(ended: Terminated) -> str:
    """The container runtime's message as a suffix; empty where the message is an agent's record."""
    if not ended.message.strip() or ended.message.startswith("{"):
        return ""
    return f": {' '.join(ended.message.split())[:300]}"
