"""What the records of a generation say about how it ended: read once, by the agent that decides."""

from __future__ import annotations

import re
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from orchestrator.job.agent.log_tail import tail
from orchestrator.job.system.atomic import read_json

_TORCHRUN = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")  # said at once, of the first that failed
_DEEPSPEED = re.compile(r"exits with return code = (-?\d+)")


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong. `time` is in seconds since the epoch; `type` and `message` name it, `text` says more.

    `type` is an exception's name, or "Signal" or "Exit" for a rank that ended without a word, "Launcher" for a launcher
    that did. Where the agents saw the cause themselves, `cause` says it and `message` is the sentence ("Lost", "Hung").
    """

    node: int
    time: float
    type: str
    message: str
    text: str = ""
    rank: int | None = None
    cause: str | None = None

    def record(self) -> dict[str, Any]:
        """As an outcome's first_error."""
        found = asdict(self)
        found["traceback"] = found.pop("text")
        return found


@dataclass(frozen=True)
class Silent:
    """A rank of this node that was seen dead with neither an error nor an attestation, before anybody ended it."""

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
    """Exit statuses that a launcher's log tells, by rank; DeepSpeed's tells one and not whose: None."""
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
    """What this node's processes leave behind: ranks without a word, or a launcher that failed without any rank's.

    `status` is the launcher's, None when it had to be ended.
    """
    log = tail(directory / "logs" / f"launcher-{node}.log")
    if status is not None and status < 0:
        _, message = status_name(status)
        sentence = f"The launcher on node {node} was killed by {message}."
        return [Fault(node, now, "Launcher", sentence, log, cause="launcher_lost")]
    told = statuses(log, ranks.start)
    dead = list(silent)
    reported = [entry for entry in dead if entry.rank in told and told[entry.rank] != -signal.SIGTERM]
    found = []
    for entry in reported or dead:
        code = told.get(entry.rank, told.get(None))
        kind, message = status_name(code) if code is not None else ("Signal", "an unknown signal")
        text = tail(directory / "logs" / f"rank-{entry.rank}.log")
        found.append(Fault(node, entry.time, kind, message, text, rank=entry.rank))
    worded = any((directory / "ranks" / f"rank-{rank}.error.json").exists() for rank in ranks)
    if not found and not worded and status:
        found.append(Fault(node, now, "Launcher", f"exit status {status}", log))
    return found


def rank_errors(directory: Path) -> list[Fault]:
    """The errors that ranks have recorded themselves."""
    found = []
    for path in (directory / "ranks").glob("rank-*.error.json"):
        error = read_json(path)
        if error is not None:
            found.append(
                Fault(
                    node=int(error.get("node", 0)),
                    time=float(error.get("time", 0.0)),
                    type=str(error.get("type", "")),
                    message=str(error.get("message", "")),
                    text=str(error.get("traceback", "")),
                    rank=error.get("rank"),
                )
            )
    return found


def reported_faults(exits: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """The faults in the nodes' exit records."""
    return [Fault(**fault) for record in exits for fault in record.get("faults", ())]


def done_ranks(directory: Path) -> frozenset[int]:
    """Ranks that have attested that the training came to its end."""
    found = (read_json(path) for path in (directory / "ranks").glob("rank-*.done.json"))
    return frozenset(int(record["rank"]) for record in found if record and "rank" in record)
