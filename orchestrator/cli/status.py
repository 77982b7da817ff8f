"""`orch status`: all runs, or one in full."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli import context, output
from orchestrator.cli.terminal import Screen, columns, painter, say
from orchestrator.errors import INTERRUPTED, OK
from orchestrator.views import status
from orchestrator.views.phases import ENDED

if TYPE_CHECKING:
    from orchestrator.store import Reader

REFRESH = 1.0  # seconds


def run(options: Namespace) -> int:
    with context.reader() as store:
        if options.watch:
            return _watch(store, options)
        runs = _read(store, options.run)
        if not runs and not options.json:
            say("no runs yet; start one with: orch submit job.yaml")
        sys.stdout.write(_text(runs, options))
        return OK


def _read(store: Reader, name: str | None) -> Sequence[Mapping[str, Any]]:
    return [context.snapshot(store, name)] if name else store.snapshots()


def _text(runs: Sequence[Mapping[str, Any]], options: Namespace) -> str:
    rows = [context.row(one) for one in runs]
    if options.json:
        values = [status.to_json(one) for one in rows]
        return output.one_json(values[0]) if options.run else output.json_list(values)
    return output.lines(_lines(rows, options))


def _lines(rows: Sequence[Mapping[str, Any]], options: Namespace) -> list[str]:
    width, paint = columns(sys.stdout), painter(sys.stdout)
    if options.run:
        return status.page(rows[0], width=width, clock=context.clock, paint=paint)
    return status.listing(rows, width=width, paint=paint)


def _watch(store: Reader, options: Namespace) -> int:
    """Until the run ends, or for all runs until Ctrl-C. Not on a terminal: the text again when something changed."""
    screen = Screen(sys.stdout) if columns(sys.stdout) is not None and not options.json else None
    code, runs, before = OK, _read(store, options.run), None
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
