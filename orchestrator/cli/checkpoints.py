"""`orch checkpoints`: the checkpoints of a run or below any directory, and what is wrong with them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from orchestrator.checkpoints.report import Listed, list_checkpoints
from orchestrator.cli import context, output
from orchestrator.cli.terminal import columns, painter, say
from orchestrator.errors import OK, JobError
from orchestrator.paths import orch_home
from orchestrator.store.reader import FILE
from orchestrator.views import checkpoints


def run(options: Namespace) -> int:
    root = _root(options.run)
    try:
        listed = _list(root, verify=options.verify)
    except OSError as error:
        raise JobError(f"cannot read {error.filename or root}: {error.strerror}") from error
    rows = [checkpoints.row(one) for one in listed]
    if options.json:
        base = str(_base(root, listed))
        sys.stdout.write(output.json_list(checkpoints.to_json(row, base) for row in rows))
        return OK
    if not rows:
        say(f"no checkpoints in {root}")
    lines = checkpoints.listing(rows, width=columns(sys.stdout), paint=painter(sys.stdout))
    sys.stdout.write(output.lines(lines))
    return OK


def _list(root: Path, *, verify: bool) -> list[Listed]:
    """What is below a directory; where that is nothing and the directory is itself a checkpoint, that one."""
    found = list_checkpoints(root, verify=verify)
    if found:
        return found
    itself = root.resolve()
    return [one for one in list_checkpoints(itself.parent, verify=verify) if one.path == itself.name]


def _base(root: Path, listed: list[Listed]) -> Path:
    """The absolute directory that the listed paths start at."""
    whole = root.resolve()
    itself = [one.path for one in listed] == [whole.name] and not (whole / whole.name).exists()
    return whole.parent if itself else whole


def _root(name: str) -> Path:
    """Where to look: a run's checkpoint directory, else the directory itself."""
    if os.sep not in name and (orch_home(os.environ) / FILE).exists():
        with context.store() as store:
            run = store.find(name)
        if run is not None:
            return Path(run.checkpoint_dir)
    directory = Path(name)
    if directory.is_dir():
        return directory
    found = "a file" if directory.exists() else "neither"
    raise JobError(f"wanted the name of a run or a directory, found {found}: {name}", hint="orch status lists the runs")
