"""`orch clusters`: the clusters that a job can be sent to, and what is known of them."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.terminal import columns, painter
from orchestrator.errors import OK
from orchestrator.views import clusters


def run(options: Namespace) -> int:
    rows = clusters.rows(context.configuration())
    if options.json:
        print(json.dumps([clusters.to_json(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        lines = clusters.listing(rows, width=columns(sys.stdout), paint=painter(sys.stdout))
        print("".join(f"{line}\n" for line in lines), end="")
    return OK
