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

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
REFRESH = 1.0  # seconds
STARTING = 5.0  # seconds that a controller which a command has just started may need to show itself


def run(options: Namespace) -> int:
    with context.reader() as store:
        if options.watch:
            return _watch(store, options)
        runs = _read(store, options)
        if not runs and not options.json:
            say("no run is so" if _filters(options) else "no runs yet; start one with: orch submit job.yaml")
        _tell_of_no_controller(store, runs)
        sys.stdout.write(_text(runs, options))
        return OK


def _filters(options: Namespace) -> list[str]:
    """The options that choose among all runs."""
    return [f"--{name}" for name in ("phase", "cluster", "since", "last") if getattr(options, name) is not None]


def _read(store: Reader, options: Namespace) -> Sequence[Row]:
    filters = _filters(options)
    if options.run:
        if filters:
            raise JobError(
                f"{filters[0]} chooses among all runs, and {options.run} is one", hint="leave one of them out"
            )
        return [context.snapshot(store, options.run)]
    return _chosen(store.snapshots(), options) if filters else store.snapshots()


def _chosen(runs: Sequence[Row], options: Namespace) -> Sequence[Row]:
    since = _moment(options.since) if options.since is not None else 0.0
    if options.last is not None and options.last < 1:
        raise JobError(f"--last {options.last}: it takes a number from 1 on")
    found = [
        run
        for run in runs
        if options.phase in {None, run["phase"]}
        and options.cluster in {None, run["cluster"]}
        and run["submitted_at"] >= since
    ]
    return found[-options.last :] if options.last is not None else found


def _moment(text: str) -> float:
    """A date (local), or a time before now. Raises JobError."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isdecimal():
        return time.time() - int(number) * _UNITS[unit]
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M"):
        try:
            return time.mktime(time.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    raise JobError(f"--since {text!r} is not a time", hint="as in 30m, 12h, 7d, 2025-12-31 or 2025-12-31T08:00")


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
    code, runs, before = OK, _read(store, options), None
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
            runs = _read(store, options)
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
