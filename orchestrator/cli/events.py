"""`orch events`: what happened to a run, and why."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.terminal import columns, painter
from orchestrator.errors import OK
from orchestrator.views import events


def run(options: Namespace) -> int:
    with context.store() as store:
        store.get(options.run)
        found = store.events(options.run)
    if options.json:
        print(json.dumps([events.to_json(event) for event in found], indent=2, ensure_ascii=False))
    else:
        lines = events.listing(found, clock=context.clock, width=columns(sys.stdout), paint=painter(sys.stdout))
        print("".join(f"{line}\n" for line in lines), end="")
    return OK
