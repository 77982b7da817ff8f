"""Warnings of a namespace and conditions of Kueue's workloads: why an attempt has no pods or waits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.clusters.kubernetes.answers import Event, Workload, condition

# Reasons of events about pods that an operator could not create.
_CREATION = re.compile(r"FailedCreate\w*|JobCreationFailed|ServicesCreationFailed|\w*CreationFailed")
_CHILD = re.compile("-(?:master|worker|node)-")  # in the name of a job object's child, behind the job's own name
_PASSING = re.compile(
    r"failed calling webhook|[Ii]nternal error|timed? ?out|deadline exceeded|connection refused|etcdserver"
)
_MOUNT = frozenset({"FailedMount", "FailedAttachVolume"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an attempt's pods do not start, as a sentence. `stuck`: waiting will not change it."""

    message: str
    stuck: bool


def by_name(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events by the name of every job object that they may be about: its own, or those of its children."""
    found: dict[str, list[Event]] = {}
    for event in events:
        for name in (event.about, *(event.about[: child.start()] for child in _CHILD.finditer(event.about))):
            found.setdefault(name, []).append(event)
    return found


def trouble_of(events: Iterable[Event], *, missing: bool) -> Trouble | None:
    """Why an object lacks pods, or its pods do not start, by the newest warning of those about it.

    `missing`: it has fewer pods than it wants. Otherwise warnings about creating them are out of date.
    """
    for event in sorted(events, key=lambda event: event.time, reverse=True):
        message = " ".join(event.message.split())
        if _CREATION.fullmatch(event.reason) and missing:
            return _refused(message)
        if event.reason in _MOUNT:
            return Trouble(message=f"{event.reason}: {message[:300]}", stuck=False)
    return None


def _refused(message: str) -> Trouble:
    if "exceeded quota" in message:
        return Trouble(message=f"the namespace's quota has no room for its pods: {message[:400]}", stuck=False)
    if "violates PodSecurity" in message:
        return Trouble(message=f"the namespace's PodSecurity level refuses its pods: {message[:500]}", stuck=True)
    if _PASSING.search(message):
        return Trouble(message=f"its pods cannot be made just now: {message[:400]}", stuck=False)
    if "admission webhook" in message:
        return Trouble(message=f"a webhook refuses its pods: {message[:400]}", stuck=True)
    return Trouble(message=f"its pods cannot be made: {message[:400]}", stuck=True)


def by_owner(workloads: Iterable[Workload]) -> dict[str, Workload]:
    """Kueue's workloads by the uid of the job object that each stands for; of several the first."""
    found: dict[str, Workload] = {}
    for workload in workloads:
        for owner in workload.owners:
            found.setdefault(owner.uid, workload)
    return found


def kueue_of(workload: Workload | None, positions: Mapping[str, int]) -> str:
    """Why Kueue does not admit a job object: it waits for quota, and in which place, or was evicted."""
    if workload is None:
        return "Kueue has not taken it yet: is its queue there?"
    reasons = []
    evicted, reserved = (condition(workload.conditions, name) for name in ("Evicted", "QuotaReserved"))
    if evicted.status == "True":
        reasons.append(f"Kueue took its place away ({evicted.reason}): {evicted.message}")
    if reserved.status != "True":
        place = positions.get(workload.name)
        where = f", place {place + 1} in the queue" if place is not None else ""
        reasons.append(f"it waits in Kueue's queue {workload.queue}{where}: {reserved.message or 'it waits for quota'}")
    return "; ".join(reasons)[:600]
