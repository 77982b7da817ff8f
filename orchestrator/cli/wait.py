"""`orch wait`: progress until a run ends."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.cli import context, follow
from orchestrator.cli.watchdog import keeper


def run(options: Namespace) -> int:
    with context.store() as store:
        follow.snapshot(store, options.run)
        return follow.follow(store, options.run, keeper(store))
