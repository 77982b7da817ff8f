"""What the records of a generation say about how it ended: read once, by the agent that decides."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from orchestrator.job.agent.log_tail import tail
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.records import Fault, RankDone, RankError
from orchestrator.job.protocol.report import FirstError

_TORCHRUN = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")  # logged at once, of the first that failed
_DEEPSPEED = re.compile(r"exits with return code = (-?\d+)")


@dataclass(frozen=True)
class Silent:
    """A rank of this node that died by itself with neither an error record nor an attestation."""

    rank: int
    time: float


def status_name(status: int) -> tuple[str, str]:
    """(type, message) of an exit status as subprocess gives it."""
    if status >= 0:
        return "Exit", f"exit status {status}"
    try:
        return "Signal", signal.Signals(-status).name
    except ValueError:
        return "Signal", f"signal {-status}"


def statuses(launcher_log: str, first_rank: int) -> dict[int | None, int]:
    """Exit statuses in a launcher's log by rank; DeepSpeed logs one without its rank: None."""
    found: dict[int | None, int] = {
        first_rank + int(local): int(status) for status, local in _TORCHRUN.findall(launcher_log)
    }
    match = _DEEPSPEED.search(launcher_log)
    if match:
        found[None] = int(match.group(1))
    return found


def local_faults(
    directory: Path, node: int, *, silent: Iterable[Silent], status: int | None, ranks: range, now: float
) -> list[Fault]:
    """The faults of this node's processes: ranks without a record, or a launcher that failed with no rank at fault.

    `status` is the launcher's, None when it had to be ended.
    """
    log = tail(directory / files.LOGS / files.launcher_log(node))
    if status is not None and status < 0:
        _, message = status_name(status)
        sentence = f"The launcher on node {node} was killed by {message}."
        return [Fault(node, now, "Launcher", sentence, log, cause=Cause.LAUNCHER_LOST)]
    by_rank = statuses(log, ranks.start)
    dead = list(silent)
    reported = [entry for entry in dead if entry.rank in by_rank and by_rank[entry.rank] != -signal.SIGTERM]
    found = []
    for entry in reported or dead:
        code = by_rank.get(entry.rank, by_rank.get(None))
        kind, message = status_name(code) if code is not None else ("Signal", "an unknown signal")
        text = tail(directory / files.LOGS / files.rank_log(entry.rank))
        found.append(Fault(node, entry.time, kind, message, text, rank=entry.rank))
    recorded = any((directory / files.RANKS / files.rank_error(rank)).exists() for rank in ranks)
    if not found and not recorded and status:
        found.append(Fault(node, now, "Launcher", f"exit status {status}", log))
    return found


def rank_errors(directory: Path) -> list[Fault]:
    """The errors that ranks have recorded themselves."""
    found = (read(RankError, path) for path in (directory / files.RANKS).glob(files.rank_error("*")))
    return [
        Fault(error.node, error.time, error.type, error.message, error.traceback, error.rank, error.cause)
        for error in found
        if error is not None
    ]


def done_ranks(directory: Path) -> dict[int, RankDone]:
    """Ranks that have attested that the training came to its end."""
    found = (read(RankDone, path) for path in (directory / files.RANKS).glob(files.rank_done("*")))
    return {record.rank: record for record in found if record is not None}


def first_error(fault: Fault, host: str | None) -> FirstError:
    """A fault as an outcome records it."""
    return FirstError(
        node=fault.node,
        time=fault.time,
        type=fault.type,
        message=fault.message,
        rank=fault.rank,
        cause=fault.cause,
        traceback=fault.text,
        host=host,
    )
