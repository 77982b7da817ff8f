"""Warnings of a namespace, and the words of Kueue, as reasons why an attempt has no pods or waits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Reasons of events that tell why an operator could not make a pod.
_CREATION = re.compile(r"FailedCreate\w*|JobCreationFailed|ServicesCreationFailed|\w*CreationFailed")
_MADE = re.compile("-(?:master|worker|node)-")  # in the name of what was made for a job object, behind the job's own
_PASSING = re.compile(
    r"failed calling webhook|[Ii]nternal error|timed? ?out|deadline exceeded|connection refused|etcdserver"
)
_MOUNT = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A sentence; `stuck`: nothing that happens by itself will change it."""

    words: str
    stuck: bool


def by_name(events: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Events by the name of every job object that they may be about: of it, or of what was made for it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        about = str((event.get("involvedObject") or {}).get("name", ""))
        for name in (about, *(about[: made.start()] for made in _MADE.finditer(about))):
            found.setdefault(name, []).append(event)
    return found


def trouble_of(events: Iterable[Mapping[str, Any]], *, missing: bool) -> Trouble | None:
    """Why an object lacks pods, or its pods do not start, by the newest warning of those about it.

    `missing`: it has fewer pods than it wants. Otherwise what was said of making them is over.
    """
    for event in sorted(events, key=_time, reverse=True):
        reason, message = str(event.get("reason", "")), " ".join(str(event.get("message", "")).split())
        if _CREATION.fullmatch(reason) and missing:
            return _refused(message)
        if reason in _MOUNT:
            return Trouble(words=f"{reason}: {message[:300]}", stuck=False)
    return None


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
    if _PASSING.search(message):
        return Trouble(words=f"its pods cannot be made just now: {message[:400]}", stuck=False)
    if "admission webhook" in message:
        return Trouble(words=f"a webhook refuses its pods: {message[:400]}", stuck=True)
    return Trouble(words=f"its pods cannot be made: {message[:400]}", stuck=True)


def by_owner(workloads: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Kueue's workloads by the uid of the job object that each stands for: the first one, where there are more."""
    found: dict[str, Mapping[str, Any]] = {}
    for workload in workloads:
        for owner in workload["metadata"].get("ownerReferences") or ():
            found.setdefault(str(owner.get("uid")), workload)
    return found


def kueue_of(workload: Mapping[str, Any] | None, positions: Mapping[str, int]) -> str:
    """Kueue's words on a job object: waits for quota and where, or why it lost its place. None: it has no workload."""
    if workload is None:
        return "Kueue has not taken it yet: is its queue there?"
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
