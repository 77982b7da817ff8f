"""What people want to read of a run: the logs of an attempt, from where they have read them, and its checkpoints."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.job.checkpoints import discover
from orchestrator.job.checkpoints.generations import claims
from orchestrator.job.checkpoints.report import list_checkpoints
from orchestrator.job.protocol.files import LOGS, attempt_dir, generation_dir
from orchestrator.job.protocol.operations.texts import CheckpointList, ListCheckpoints, LogSource, LogTexts, ReadLogs

BYTES = 4 * 1024 * 1024  # of logs in one answer
_NOT_LISTED = (discover.Kind.WEIGHTS,)
_LOG = re.compile(r"(job|agent|launcher|rank)-(\d+)\.log")
_ORDER = {"job": 0, "agent": 1, "launcher": 2, "rank": 3}


def logs(request: ReadLogs) -> LogTexts:
    """The log files of an attempt in the order to read them, and what is new in them. Raises OSError."""
    found = sources(request)
    texts: dict[str, bytes] = {}
    left = BYTES
    for source in found:
        if request.rank is None or (source.kind, source.number) == ("rank", request.rank):
            content = _read(Path(source.path), request.offsets.get(source.path, 0), left)
            left -= len(content)
            if content:
                texts[source.path] = content
    return LogTexts(tuple(found), texts, more=left == 0)


def sources(request: ReadLogs) -> list[LogSource]:
    """The logs of an attempt: of its job and agents, then generation by generation."""
    attempt, root = request.attempt, Path(request.checkpoint_dir)
    found = _in(attempt_dir(request.dir, attempt), f"attempt {attempt}")
    for claim in claims(root):
        if claim.attempt == attempt and claim.run_id == request.run_id:
            logs_dir = generation_dir(root, claim.generation) / LOGS
            found += _in(logs_dir, f"generation {claim.generation} (attempt {attempt})")
    return found


def checkpoints(request: ListCheckpoints) -> CheckpointList:
    """The checkpoints below `root`, or where it is itself one, that one. Raises OSError."""
    root = Path(os.path.abspath(request.root))  # not where a link leads: the link's name may say the step
    found, base = [], root
    if discover.kind_of(root) is not None:
        found, base = list_checkpoints(root.parent, verify=request.verify, only=root.name), root.parent
    if not found:
        found, base = list_checkpoints(root, verify=request.verify), root
    below = (
        ()
        if found
        else sorted({str((root / unit.path).parent) for unit in discover.find(root) if unit.kind not in _NOT_LISTED})
    )
    return CheckpointList(str(base if found else root), tuple(found), tuple(below))


def _in(directory: Path, section: str) -> list[LogSource]:
    try:
        matches = [(path, _LOG.fullmatch(path.name)) for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [LogSource(str(path), match.group(1), int(match.group(2)), section) for path, match in matches if match]
    return sorted(found, key=lambda source: (_ORDER[source.kind], source.number))


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""
