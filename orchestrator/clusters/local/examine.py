"""Asks this machine what `orch clusters check` wants to know."""

from __future__ import annotations

import sys

from orchestrator.clusters import interpreter, shared_directory
from orchestrator.clusters.checkup import answers_of
from orchestrator.clusters.findings import Findings
from orchestrator.clusters.kind import Place
from orchestrator.clusters.local import check as local
from orchestrator.clusters.local.backend import LocalBackend
from orchestrator.clusters.transport import LocalTransport


def check(place: Place) -> Findings:
    profile, home = place.profile, place.home
    found = LocalBackend(place.name, profile, home).probe()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    python = profile.python or sys.executable
    asked = {
        "python": interpreter.question(python, ()),
        "place": shared_directory.question(str(home)),
    }
    answers = answers_of(LocalTransport(), asked)
    return local.judge(found, python, answers["python"], str(home), answers["place"])
