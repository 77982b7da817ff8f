"""`orch status`: all runs, or one in full."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.cli import context, output
from orchestrator.cli.terminal import Screen, columns, painter, say
from orchestrator.errors import INTERRUPTED, OK, JobError
from orchestrator.job.system.lock import is_held
from orchestrator.system.paths import CONTROLLER_LOCK
from orchestrator.views import status
from orchestrator.views.phases import ENDED
from orchestrator.views.table import Row

if TYPE_CHECKING:
    from orchestrator.store import Reader

REFRESH = 1.0  # seconds
STARTING = 5.0  # seconds that a controller which a command has just started may need to show itself


def run(options: Namespace) -> int:
    with context.reader() as store:
        if options.watch:
            return _watch(store, options)
        runs = _read(store, options.run)
        if not runs and not options.json:
            say("no runs yet; start one with: orch submit job.yaml")
        _tell_of_no_controller(store, runs)
        sys.stdout.write(_text(runs, options))
        return OK


def _read(store: Reader, name: str | None) -> Sequence[Row]:
    return [context.snapshot(store, name)] if name else store.snapshots()


def _text(runs: Sequence[Row], options: Namespace) -> str:
    rows = [context.row(one) for one in runs]
    if options.json:
        values = [status.to_json(one) for one in rows]
        return output.one_json(values[0]) if options.run else output.json_list(values)
    return output.lines(_lines(rows, options))


def _lines(rows: Sequence[Row], options: Namespace) -> list[str]:
    width, paint = columns(sys.stdout), painter(sys.stdout)
    if options.run:
        return status.page(rows[0], width=width, clock=context.clock, paint=paint)
    return status.listing(rows, width=width, paint=paint)


def _watch(store: Reader, options: Namespace) -> int:
    """Until the run ends, or for all runs until Ctrl-C. Not on a terminal: the text again when something changed."""
    code, runs, before = OK, _read(store, options.run), None
    _tell_of_no_controller(store, runs)
    screen = Screen(sys.stdout) if columns(sys.stdout) is not None and not options.json else None
    try:
        while True:
            if screen:
                screen.show(_text(runs, options).splitlines())
            elif runs != before:
                print(_text(runs, options), flush=True)
            if options.run and runs[0]["phase"] in ENDED:
                break
            before = runs
            time.sleep(REFRESH)
            runs = _read(store, options.run)
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        if screen:
            screen.close()
    if screen:
        sys.stdout.write(_text(runs, options))
    if code == INTERRUPTED:
        say(f"detached; come back: orch status {options.run or ''} --watch".replace("  ", " "))
    return code


def _tell_of_no_controller(store: Reader, runs: Sequence[Row]) -> None:
    """Say so where runs wait for a controller that no command has started, and is not for others to start."""
    asked_before = time.time() - STARTING
    waiting = [
        run
        for run in runs
        if run["phase"] not in ENDED and max(run.get("intended_at") or 0, run.get("cancel_at") or 0) < asked_before
    ]
    if waiting and not _controller_may_live(store) and _is_ours_to_start():
        what = f"{len(waiting)} runs have" if len(waiting) > 1 else f"{waiting[0]['name']} has"
        say(f"no controller is alive, and {what} not ended; start one with: orch controller")


def _controller_may_live(store: Reader) -> bool:
    """By its lock on this machine; unknown for a controller on another machine that shares the home."""
    holder = store.controller()
    if holder is None:
        return False
    if f"/{os.uname().nodename}/" not in holder:
        return True
    try:
        return is_held(store.home / CONTROLLER_LOCK)
    except OSError:  # a file system without locks; commands that need the controller say so
        return True


def _is_ours_to_start() -> bool:
    try:
        return context.starts_controllers()
    except JobError:  # a mistake in the configuration is reported by the commands that need it
        return False
