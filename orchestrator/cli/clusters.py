"""`orch clusters`: the clusters that a job can be sent to, and what is known of them."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import context, output
from orchestrator.cli.terminal import columns, painter
from orchestrator.errors import OK
from orchestrator.views import clusters


def run(options: Namespace) -> int:
    rows = clusters.rows(context.configuration())
    if options.json:
        sys.stdout.write(output.json_list(clusters.to_json(row) for row in rows))
    else:
        lines = clusters.listing(rows, width=columns(sys.stdout), paint=painter(sys.stdout))
        sys.stdout.write(output.lines(lines))
    return OK
