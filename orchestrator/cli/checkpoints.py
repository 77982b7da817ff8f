"""`orch checkpoints`: the checkpoints of a run or below any directory, and what is wrong with them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.cli import context, files, output
from orchestrator.cli.terminal import columns, painter, say
from orchestrator.errors import OK, JobError
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.operations.texts import CheckpointList, ListCheckpoints
from orchestrator.job.remote import texts
from orchestrator.store.reader import FILE
from orchestrator.system.paths import orch_home
from orchestrator.views import checkpoints

_NAMED_BELOW = 5  # directories
VERIFY_SECONDS = 24 * 3600.0  # every byte is read, there: nobody knows how long that takes


def run(options: Namespace) -> int:
    found = _find(options.run, verify=options.verify)
    rows = [checkpoints.row(one) for one in found.listed]
    if options.json:
        sys.stdout.write(output.json_list(checkpoints.to_json(row, found.base) for row in rows))
        return OK
    if not rows:
        below = f"; there are some in {', '.join(found.below[:_NAMED_BELOW])}" if found.below else ""
        below += f" and {len(found.below) - _NAMED_BELOW} more" if len(found.below) > _NAMED_BELOW else ""
        say(f"no checkpoints in {found.base}{below}")
    lines = checkpoints.listing(rows, width=columns(sys.stdout), paint=painter(sys.stdout))
    sys.stdout.write(output.lines(lines))
    return OK


def _find(name: str, *, verify: bool) -> CheckpointList:
    """What is in a run's checkpoint directory, wherever that is, else in the directory itself."""
    run = _run(name)
    if run is not None:
        request = ListCheckpoints(run["checkpoint_dir"], verify=verify, run=name)
        return files.reader_of(run)([request], seconds=VERIFY_SECONDS)[0]
    if not Path(name).exists():
        raise JobError(
            f"wanted the name of a run, a directory or a checkpoint, found none of them: {name}",
            hint="orch status lists the runs",
        )
    try:
        return texts.checkpoints(ListCheckpoints(name, verify=verify))
    except OSError as error:
        raise JobError(f"cannot read {error.filename or name}: {error.strerror}") from error
    except RecordError as error:
        raise JobError(f"cannot read {error}", hint="use the version of orch that wrote it") from error


def _run(name: str) -> Mapping[str, Any] | None:
    if os.sep in name or not (orch_home(os.environ) / FILE).exists():
        return None
    with context.reader() as store:
        return store.snapshot(name)
