"""python -m orchestrator.job.agent: runs one node of a job. Its exit status is one of orchestrator.job.agent.codes."""

from __future__ import annotations

import sys
import time
from typing import Sequence

from orchestrator.job.agent import fence, job, linux, log, loop, options
from orchestrator.job.agent.codes import Ended
from orchestrator.job.agent.pod import Pod, status
from orchestrator.job.agent.processes import Inbox
from orchestrator.job.protocol import files
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.system.atomic import write_json


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the agent to its end and returns its exit status."""
    chosen = options.parse(argv)
    try:
        slot = fence.take_slot(chosen)
    except Ended as taken:
        log.line(chosen.node, taken.because)
        return taken.code
    inbox = Inbox()
    linux.adopt_orphans()
    pod = Pod(chosen.pod, chosen) if chosen.pod is not None else None
    ended = _run(chosen, inbox, pod)
    code = ended.code if pod is None else status(ended)
    log.line(chosen.node, f"{ended.result} ({ended.cause}), exit status {code}: {ended.because}")
    _write_ending(chosen, ended)
    if pod is not None:
        pod.end(ended)
        time.sleep(pod.lingers(ended))
    del slot  # held until here; the lock goes with the process
    return code


def _run(chosen: options.Options, inbox: Inbox, pod: Pod | None) -> Ended:
    try:
        loop.run(chosen, job.load(chosen.bundle, chosen.run_dir), inbox, pod)
    except Ended as ended:
        return ended


def _write_ending(chosen: options.Options, ended: Ended) -> None:
    """Beside the attempt's logs: what a backend reads where it can't see the exit status."""
    path = chosen.attempt_dir / files.ended(chosen.node)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, to_json(fence.ending(chosen, ended)))
    except OSError as error:
        log.line(chosen.node, f"cannot write {path}: {error}")


if __name__ == "__main__":
    sys.exit(main())
