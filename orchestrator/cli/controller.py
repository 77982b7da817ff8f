"""`orch controller`: look after runs in the foreground, as a service manager or `controller: external` wants it."""

from __future__ import annotations

import os
from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.terminal import say
from orchestrator.controller import autostart, process
from orchestrator.errors import OK, StoreError
from orchestrator.system import logs

_ANOTHER = "another controller looks after these runs"


def run(options: Namespace) -> int:
    verbosity = getattr(options, "verbose", 0)
    logs.to_stderr(logs.level_of(verbosity) if verbosity else options.log_level, options.log_format)
    with context.store() as store:
        if options.stop:
            if not autostart.stop(store):
                raise StoreError(
                    f"the controller {store.lease().holder} did not leave within {autostart.LEAVING_SECONDS:.0f} s",
                    hint=f"what it does is in {store.home / autostart.LOG}",
                )
        elif options.once:
            if not process.once(store, os.environ):
                say(_ANOTHER)
        else:
            say(f"looking after the runs in {store.home}; Ctrl-C ends this, not the runs")
            if not process.serve(store, os.environ, idle_seconds=None):
                say(_ANOTHER)
    return OK
