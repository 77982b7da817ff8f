"""Warnings of a namespace, and the words of Kueue, as reasons why an attempt has no pods or waits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Reasons of events that tell why an operator could not make a pod.
_CREATION = re.compile(r"FailedCreate\w*|JobCreationFailed|ServicesCreationFailed|\w*CreationFailed")
_MOUNT = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A sentence; `stuck`: nothing that happens by itself will change it."""

    words: str
    stuck: bool


def trouble_of(name: str, events: Iterable[Mapping[str, Any]]) -> Trouble | None:
    """Why the object `name` has no pods, or its pods do not start, by the newest warning about it or what it made."""
    mine = [event for event in events if _is_about(event, name)]
    for event in sorted(mine, key=_time, reverse=True):
        reason, message = str(event.get("reason", "")), " ".join(str(event.get("message", "")).split())
        if _CREATION.fullmatch(reason):
            return _refused(message)
        if reason in _MOUNT:
            return Trouble(words=f"{reason}: {message[:300]}", stuck=False)
    return None


def _is_about(event: Mapping[str, Any], name: str) -> bool:
    about = str((event.get("involvedObject") or {}).get("name", ""))
    return about == name or about.startswith((f"{name}-master-", f"{name}-worker-", f"{name}-node-"))


def _time(event: Mapping[str, Any]) -> str:
    return str(
        (event.get("series") or {}).get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
        or ""
    )


def _refused(message: str) -> Trouble:
    if "exceeded quota" in message:
        return Trouble(words=f"the namespace's quota has no room for its pods: {message[:400]}", stuck=False)
    if "violates PodSecurity" in message:
        return Trouble(words=f"the namespace's PodSecurity level refuses its pods: {message[:500]}", stuck=True)
    if "admission webhook" in message:
        return Trouble(words=f"a webhook refuses its pods: {message[:400]}", stuck=True)
    return Trouble(words=f"its pods cannot be made: {message[:400]}", stuck=True)


def kueue_of(uid: str, workloads: Iterable[Mapping[str, Any]], positions: Mapping[str, int]) -> str:
    """Kueue's words on the job object with this uid: waits for quota and where, or why it lost its place."""
    for workload in workloads:
        owners = workload["metadata"].get("ownerReferences") or ()
        if any(owner.get("uid") == uid for owner in owners):
            return _kueue(workload, positions)
    return "Kueue has not taken it yet: is its queue there?"


def _kueue(workload: Mapping[str, Any], positions: Mapping[str, int]) -> str:
    conditions = {str(one.get("type")): one for one in (workload.get("status") or {}).get("conditions") or ()}
    words = []
    evicted = conditions.get("Evicted") or {}
    if evicted.get("status") == "True":
        words.append(f"Kueue took its place away ({evicted.get('reason')}): {evicted.get('message', '')}")
    reserved = conditions.get("QuotaReserved") or {}
    if reserved.get("status") != "True":
        message = str(reserved.get("message") or "it waits for quota")
        queue = (workload.get("spec") or {}).get("queueName", "")
        place = positions.get(str(workload["metadata"].get("name")))
        where = f", place {place + 1} in the queue" if place is not None else ""
        words.append(f"it waits in Kueue's queue {queue}{where}: {message}")
    return "; ".join(words)[:600]
