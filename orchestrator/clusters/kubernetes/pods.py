"""What the list of pods says: who runs, who hangs on a dead node, why one does not start, and the agents' last words.

Pure: the documents of pods in, values out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.clusters.kubernetes.manifests import ATTEMPT, RUN_ID
from orchestrator.model.run import Cause

CONTAINERS = ("pytorch", "node")  # the one that the agent runs in, by the operators' names for it
# Words of a container that waits, whose own cure is nobody's but the user's.
_STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_NO_START = frozenset({"StartError", "ContainerCannotRun"})
_NUMBERS = (
    "training.kubeflow.org/replica-index",
    "batch.kubernetes.io/job-completion-index",
)
TAINTED = "untolerated taint"  # in the words of the scheduler, which does not say which taint that is
OVERDUE = 30.0  # seconds after its grace period that a pod may take to go where its node is alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of an attempt. `word` is the newest last word of its agent, `logged`: a container of it has run.

    `stuck`: why it can't start as things are; `waits`: why it has not started, whether that can heal or not. `lost`:
    its node does not answer and it will not end by itself. `ended_by`: what Kubernetes says of its end.
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
    word: Mapping[str, Any] | None = None
    ended_by: Cause = Cause.NONE
    because: str = ""

    @property
    def alive(self) -> bool:
        """Whether something of it may run, or may yet."""
        return self.phase in {"Pending", "Running", "Unknown"} and not self.lost


def pods_of(documents: Iterable[Mapping[str, Any]], now: float) -> list[Pod]:
    """The pods in a list, oldest first; those that are no agents' are left out. `now`: the server's clock."""
    found = [_pod(document, now) for document in documents]
    return sorted((pod for pod in found if pod is not None), key=lambda pod: (pod.created, pod.name))


def newest_of(pods: Iterable[Pod]) -> dict[int, Pod]:
    """The newest pod of each node."""
    return {pod.number: pod for pod in pods}


def _pod(document: Mapping[str, Any], now: float) -> Pod | None:
    metadata, spec = document["metadata"], document.get("spec") or {}
    status = document.get("status") or {}
    labels = metadata.get("labels") or {}
    number = _number(labels)
    attempt = str(labels.get(ATTEMPT, ""))
    if number is None or not attempt.isdigit():
        return None
    mine = _container(status.get("containerStatuses"))
    state = mine.get("state") or {}
    ended = state.get("terminated") or (mine.get("lastState") or {}).get("terminated")
    conditions = {str(one.get("type")): one for one in status.get("conditions") or ()}
    phase = str(status.get("phase") or "Pending")
    running = "running" in state
    leaving = metadata.get("deletionTimestamp") is not None
    waits, stuck = _waiting(status, conditions) if phase == "Pending" else ("", "")
    cause, because = _end(status, ended, conditions)
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        number=number,
        attempt=int(attempt),
        run_id=str(labels.get(RUN_ID, "")),
        node=spec.get("nodeName"),
        phase=phase,
        created=str(metadata.get("creationTimestamp", "")),
        container=next(
            (one["name"] for one in spec.get("containers") or () if one["name"] in CONTAINERS), CONTAINERS[0]
        ),
        running=running,
        logged=running or ended is not None,
        leaving=leaving,
        lost=leaving and _is_lost(metadata, conditions, now, ended=state.get("terminated") is not None),
        waits=waits,
        stuck=stuck or _unstartable(ended),
        word=_word((ended or {}).get("message")),
        ended_by=cause,
        because=because,
    )


def _number(labels: Mapping[str, str]) -> int | None:
    """The node's number: an operator's index, and in a PyTorchJob workers come after the master."""
    role = labels.get("training.kubeflow.org/replica-type")
    index = next((labels[name] for name in _NUMBERS if str(labels.get(name, "")).isdigit()), None)
    if index is None:
        return None
    return int(index) + (1 if role == "worker" else 0)


def _container(statuses: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    return next((one for one in statuses or () if one.get("name") in CONTAINERS), {})


def _is_lost(
    metadata: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]], now: float, *, ended: bool
) -> bool:
    """A pod that is told to go, where nobody is left to end it: its node was found unreachable, or its time is up.

    A node that is only tainted by hand ends its pods itself; one that is gone has its pods marked not ready.
    """
    if ended:
        return False
    target, ready = conditions.get("DisruptionTarget") or {}, conditions.get("Ready") or {}
    if target.get("reason") == "DeletionByTaintManager" and ready.get("status") == "False":
        return True
    due = _seconds(metadata.get("deletionTimestamp"))
    return due is not None and now > 0 and now - due > OVERDUE


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _waiting(status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """(why it waits, why it can't start) of a pod that has not started."""
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        message = " ".join(str(scheduled.get("message") or scheduled.get("reason") or "").split())
        words = f"it cannot be scheduled: {message}"
        return words, words if _never_schedulable(message) else ""
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = str(waiting.get("reason", "")), " ".join(str(waiting.get("message", "")).split())
        if reason and reason not in {"ContainerCreating", "PodInitializing"}:
            words = f"{reason}{f': {message[:300]}' if message else ''}"
            return words, words if reason in _STUCK else ""
    return "", ""


def _never_schedulable(message: str) -> bool:
    """Whether the scheduler names nothing that waiting would change: no room, no other pod that may go."""
    if "persistentvolumeclaim" in message and "not found" in message:
        return True
    _, _, reasons = message.partition("nodes are available: ")
    reasons = reasons.partition(" preemption:")[0].partition(". ")[0]
    parts = [part.strip() for part in reasons.split(",") if part.strip()]
    return bool(parts) and all("affinity/selector" in part or TAINTED in part for part in parts)


def _word(message: Any) -> Mapping[str, Any] | None:
    """An agent's last word; None for what another program wrote there."""
    if not isinstance(message, str) or not message.startswith("{"):
        return None
    with contextlib.suppress(ValueError):
        value = json.loads(message)
        report = value.get("report") if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(value.get("node"), int) and isinstance(report, dict | None):
            return value
    return None


def _end(
    status: Mapping[str, Any], ended: Mapping[str, Any] | None, conditions: Mapping[str, Mapping[str, Any]]
) -> tuple[Cause, str]:
    """What Kubernetes itself says of a pod's end, for where its agent could say nothing."""
    reason = str(status.get("reason", ""))
    message = " ".join(str(status.get("message", "")).split())
    target = conditions.get("DisruptionTarget") or {}
    if reason == "Evicted":
        full = "ephemeral-storage" in message or "disk" in message.lower()
        cause = Cause.DISK_FULL if full else Cause.HOST_OOM if "memory" in message else Cause.PREEMPTED
        return cause, f"its node evicted it: {message[:300]}"
    if ended is not None and ended.get("reason") == "OOMKilled":
        return Cause.HOST_OOM, "its container used more memory than its limit (OOMKilled)"
    if target.get("status") == "True" and str(target.get("reason", "")).startswith("Preempt"):
        return Cause.PREEMPTED, f"it was preempted: {target.get('message', '')}"
    if ended is not None:
        code, why = ended.get("exitCode"), ended.get("reason") or "Error"
        return Cause.NONE, f"its container ended with status {code} ({why}){_said(ended.get('message'))}"
    return Cause.NONE, ""


def _unstartable(ended: Mapping[str, Any] | None) -> str:
    """Why a container could not be started at all, which operators take for an end that another start may help."""
    if ended is None or ended.get("reason") not in _NO_START:
        return ""
    return f"{ended['reason']}{_said(ended.get('message'))}"


def _said(message: Any) -> str:
    """What a runtime says of a container that could not start; not an agent's word, which is told elsewhere."""
    if not isinstance(message, str) or not message.strip() or message.startswith("{"):
        return ""
    return f": {' '.join(message.split())[:300]}"
