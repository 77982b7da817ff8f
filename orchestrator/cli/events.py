"""`orch events`: what happened to a run, and why."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import context, output
from orchestrator.cli.terminal import columns, painter
from orchestrator.errors import OK
from orchestrator.views import events


def run(options: Namespace) -> int:
    with context.store() as store:
        store.get(options.run)
        found = store.events(options.run)
    if options.json:
        sys.stdout.write(output.json_list(events.to_json(event) for event in found))
    else:
        lines = events.listing(found, clock=context.clock, width=columns(sys.stdout), paint=painter(sys.stdout))
        sys.stdout.write(output.lines(lines))
    return OK
