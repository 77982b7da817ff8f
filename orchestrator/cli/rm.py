"""`orch rm`: remove runs that have ended."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from orchestrator.cli import context, output
from orchestrator.cli.terminal import say, show_error
from orchestrator.clusters import Backend, open_backend
from orchestrator.config import configfile
from orchestrator.errors import OK, OrchError
from orchestrator.model.run import Run
from orchestrator.runs.remove import RemovedRun, remove_run
from orchestrator.system.paths import orch_home


def run(options: Namespace) -> int:
    removed: list[RemovedRun] = []
    code = OK
    with context.store() as store:
        for name in dict.fromkeys(options.runs):
            try:
                done = remove_run(store, name, _backend, checkpoints=options.checkpoints, keep_files=options.keep_files)
            except OrchError as error:  # the others are removed all the same
                show_error(error)
                code = code or error.exit_code
                continue
            removed.append(done)
            if not options.json:
                print(name, flush=True)
            say(f"{name} is removed{f'; still there: {done.left}' if done.left else ''}")
    if options.json:
        sys.stdout.write(output.json_list({"name": one.name, "left": one.left} for one in removed))
    return code


def _backend(run: Run) -> Backend:
    return open_backend(*configfile.cluster(context.configuration(), run.cluster), orch_home(os.environ))
