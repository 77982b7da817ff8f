"""A run's progress on stderr until it ends: on a terminal one line rewritten in place, elsewhere a line a change."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Protocol

from orchestrator.cli import context
from orchestrator.cli.terminal import LiveLine, columns, painter, say, speaks_unicode
from orchestrator.controller.autostart import keeper
from orchestrator.errors import INTERRUPTED, OK, RUN_CANCELLED, RUN_FAILED
from orchestrator.job.checkpoints import generations
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.records import RankProgress
from orchestrator.store import Store
from orchestrator.system.paths import WATCHED
from orchestrator.views import progress
from orchestrator.views.phases import ENDED
from orchestrator.views.table import Row

POLL = 0.25  # seconds between two reads of the store
SIGN = 5.0  # seconds between two signs that a user follows the run
_CODES = {"succeeded": OK, "cancelled": RUN_CANCELLED}


class Display(Protocol):
    """What `follow` shows a run with."""

    def show(self, run: Row) -> None: ...
    def close(self) -> None: ...


def follow(store: Store, name: str) -> int:
    """Show a run until it ends and return the exit code that says how; Ctrl-C detaches. JobError without such a run.

    Without a controller a run would never end, so one is started whenever none is alive.
    """
    display: Display = _Live() if columns(sys.stderr) is not None else _Lines()
    try:
        run = _until_end(store, name, display)
    except KeyboardInterrupt:
        display.close()
        say(f"detached; {name} goes on\n  come back:  orch wait {name}\n  end it:     orch cancel {name}")
        return INTERRUPTED
    display.close()
    say("\n".join(progress.closing(context.row(run), width=columns(sys.stderr), paint=painter(sys.stderr))))
    return _CODES.get(run["phase"], RUN_FAILED)


def _until_end(store: Store, name: str, display: Display) -> Row:
    keep_controller = keeper(store, wanted=context.starts_controllers())
    signed = 0.0
    while True:
        if time.monotonic() - signed > SIGN:
            signed = time.monotonic()
            _leave_sign(store, name)
        run = context.snapshot(store, name)
        display.show({**context.row(run), **_from_records(run)})
        if run["phase"] in ENDED:
            return run
        keep_controller()
        time.sleep(POLL)


def _leave_sign(store: Store, name: str) -> None:
    """Mark the run as followed: backends that poll seldom then poll more often."""
    with contextlib.suppress(OSError):
        (store.home / "runs" / name / WATCHED).touch()


def _from_records(run: Row) -> dict[str, str]:
    """What records on this machine add: what a start does before its first step, why the generation before it ended."""
    root, number = run["checkpoint_dir"], run["generation"]
    path = files.generation_dir(root, number) / files.PROGRESS
    progress = read(RankProgress, path) if run["phase"] == "starting" else None
    ended = generations.read_outcome(root, number - 1) if number > 1 else None
    return {"doing": (progress and progress.state) or "", "before": ended.because if ended else ""}


class _Live:
    def __init__(self) -> None:
        self._line = LiveLine(sys.stderr)
        self._paint = painter(sys.stderr)
        self._unicode = speaks_unicode(sys.stderr)
        self._before: Row | None = None

    def show(self, run: Row) -> None:
        for line in progress.notices(self._before, run):
            self._line.above(self._paint(line, "warn"))
        self._before = run
        width = columns(sys.stderr) or 80
        self._line.show(progress.live(run, width=width, paint=self._paint, unicode=self._unicode))

    def close(self) -> None:
        self._line.close()


class _Lines:
    def __init__(self) -> None:
        self._before: Row | None = None
        self._last_step: int | None = None

    def show(self, run: Row) -> None:
        for line in progress.changes(self._before, run, last_step=self._last_step):
            say(f"{run['name']}: {line}")
        if progress.step_is_due(run, self._last_step):
            self._last_step = run["step"]
        self._before = run

    def close(self) -> None:
        """Every line is out already."""
