"""`orch wait`: progress until a run ends."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.follow import follow


def run(options: Namespace) -> int:
    with context.store() as store:
        return follow(store, options.run)
