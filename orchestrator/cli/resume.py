"""`orch resume`: go on with a run that ended before it was done."""

from __future__ import annotations

import os
from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.follow import follow
from orchestrator.cli.terminal import say, warn
from orchestrator.clusters import Backend, open_backend
from orchestrator.config import configfile
from orchestrator.controller.autostart import keep_controller
from orchestrator.errors import OK
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Phase
from orchestrator.runs import again, submit
from orchestrator.runs.prepare import Prepared
from orchestrator.store import Store


def run(options: Namespace) -> int:
    with context.store() as store:
        configuration = context.configuration()
        cluster, profile = configfile.cluster(configuration, store.get(options.run).cluster)
        backend = open_backend(cluster, profile, store.home)
        made = _made_again(store, backend, profile, options)
        resumed = submit.resume_run(
            store,
            backend,
            options.run,
            os.environ,
            from_step=options.from_step,
            from_scratch=options.from_scratch,
            again=made,
            bad_nodes=configuration.nodes,
        )
        keep_controller(store, wanted=context.starts_controllers())
        print(resumed.name, flush=True)
        return follow(store, resumed.name) if options.wait else OK


def _made_again(store: Store, backend: Backend, profile: Profile, options: Namespace) -> Prepared | None:
    """The run's job, where it goes on with another than it had; what is another is told."""
    run = store.get(options.run)
    if run.phase is Phase.SUCCEEDED or not run.phase.ended:
        return None  # refused, whatever else is asked for
    made = again.make(
        store,
        backend,
        run,
        profile,
        overrides=options.overrides,
        code=options.code,
        current=options.cluster_profile == "current",
    )
    if made is None:
        return None
    for warning in made.prepared.warnings:
        warn(warning)
    for sentence in made.told:
        say(sentence)
    return made.prepared
