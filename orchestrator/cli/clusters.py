"""`orch clusters`: the clusters that a job can be sent to; `add` writes one down, `check` looks at one."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from orchestrator.bundle import assets
from orchestrator.cli import context, output
from orchestrator.cli.terminal import columns, painter, say
from orchestrator.config import configfile
from orchestrator.errors import OK, ClusterError
from orchestrator.system.paths import orch_home
from orchestrator.views import clusters


def run(options: Namespace) -> int:
    if options.action == "add":
        from orchestrator.cli.clusteradd import add

        return add(options)
    return _check(options) if options.action == "check" else _list(options)


def _list(options: Namespace) -> int:
    rows = clusters.rows(context.configuration())
    if options.json:
        sys.stdout.write(output.json_list(clusters.to_json(row) for row in rows))
    else:
        lines = clusters.listing(rows, width=columns(sys.stdout), paint=painter(sys.stdout))
        sys.stdout.write(output.lines(lines))
    return OK


def _check(options: Namespace) -> int:
    from orchestrator.clusters.checkup import check
    from orchestrator.clusters.kind import Place

    name, profile = configfile.cluster(context.configuration(), options.name)
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    found = check(Place(name=name, profile=profile, home=orch_home(os.environ), interactive=interactive))
    if options.json:
        sys.stdout.write(output.one_json(clusters.checkup_to_json(found)))
    else:
        lines = clusters.checkup_listing(found, width=columns(sys.stdout), paint=painter(sys.stdout))
        sys.stdout.write(output.lines(lines))
        if any("manifests/" in one.todo for one in found.findings):
            say(f"manifests/ is {assets.manifests()}")
    return ClusterError.exit_code if found.hopeless else OK
