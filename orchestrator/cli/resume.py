"""`orch resume`: go on with a run that ended before it was done."""

from __future__ import annotations

import os
from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.follow import follow
from orchestrator.clusters import open_backend
from orchestrator.config import configfile
from orchestrator.controller.autostart import keep_controller
from orchestrator.errors import OK
from orchestrator.runs import submit


def run(options: Namespace) -> int:
    with context.store() as store:
        configuration = context.configuration()
        cluster, profile = configfile.cluster(configuration, store.get(options.run).cluster)
        resumed = submit.resume_run(
            store,
            open_backend(cluster, profile, store.home),
            options.run,
            os.environ,
            from_step=options.from_step,
            from_scratch=options.from_scratch,
            bad_nodes=configuration.nodes,
        )
        keep_controller(store, wanted=context.starts_controllers())
        print(resumed.name, flush=True)
        return follow(store, resumed.name) if options.wait else OK
