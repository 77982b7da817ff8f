"""Fault injection: ORCH_FAULT=NAME kills this process, as SIGKILL would find it, when it reaches that point.

The points are the recorded steps of a submission, in the order in which a submission passes them.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "ORCH_FAULT"
POINTS = (
    "submit.staged",  # the bundle is on this machine, nothing is recorded
    "submit.recorded",  # the run and its first attempt are recorded, nothing is handed over
    "start.uploaded",  # the attempt's own copy of the bundle is in place, no agent was started
    "start.launched",  # an agent was started, its process id is not recorded
    "start.recorded",  # an agent was started and its process id recorded; others may be missing
    "kubernetes.files",  # the attempt's ConfigMap is made, its job object is not
    "kubernetes.job",  # the job object is made, it is not recorded
    "handover.submitted",  # the backend has the attempt, its handle is not recorded
    "handover.recorded",  # the handle is recorded
    "controller.lost",  # the loss of an attempt was seen, nothing is recorded
    "controller.intended",  # the next attempt is recorded, nothing is handed over
    "controller.mirrored",  # metrics are mirrored, what was observed is not recorded
    "replace.staged",  # the new bundle of a run is on this machine, nothing is recorded
    "replace.cancelled",  # the cancel of a run that shall be replaced is recorded
    "replace.recorded",  # the attempt with the new bundle is recorded, nothing is handed over
    "remove.begun",  # that a run shall be removed is recorded, and nothing is removed
    "remove.there",  # its files are removed on its cluster
    "remove.here",  # those on this machine, too; its record is there
    "cancel.requested",  # a cancel is recorded, nobody was asked to stop
)


def failpoint(name: str) -> None:
    """End this process with SIGKILL when the environment asks for it here."""
    if name not in POINTS:
        raise ValueError(f"{name} is not one of failpoints.POINTS")
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
