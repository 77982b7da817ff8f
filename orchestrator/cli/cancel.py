"""`orch cancel`: ask for the end of a run."""

from __future__ import annotations

from argparse import Namespace

from orchestrator.cli import context
from orchestrator.cli.terminal import say
from orchestrator.controller.autostart import keep_controller
from orchestrator.errors import OK
from orchestrator.model.run import Phase
from orchestrator.runs import submit


def run(options: Namespace) -> int:
    with context.store() as store:
        cancelled = submit.cancel_run(store, options.run, now=options.now)
        if cancelled.phase.ended:
            say(f"{options.run} is {cancelled.phase.value}")
            return OK
        keep_controller(store, wanted=context.starts_controllers())
    waits = cancelled.phase in {Phase.PENDING, Phase.QUEUED}
    how = "it ends now" if options.now else "it is not started" if waits else "it saves a checkpoint and ends"
    say(f"cancelling {options.run}: {how}; watch it with: orch wait {options.run}")
    return OK
