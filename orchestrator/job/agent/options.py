"""The agent's command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from orchestrator.job.protocol.files import attempt_dir

_START = re.compile(r"[A-Za-z0-9._:@+-]+")


@dataclass(frozen=True)
class Options:
    """What this agent was started for. `start` is the same on all nodes of one start, and of no other."""

    bundle: Path
    run_dir: Path
    node: int
    attempt: int
    start: str
    address: str | None
    from_step: int | None
    from_scratch: bool
    slot_lock: Path | None
    pod: Path | None = None

    @property
    def attempt_dir(self) -> Path:
        return attempt_dir(self.run_dir, self.attempt)


def parse(argv: Sequence[str] | None = None) -> Options:
    """The options in `argv`. Ends the process with status 2 and a message when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.job.agent", description="Runs one node of a job.")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="the rendered bundle")
    parser.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help="the run's directory")
    parser.add_argument("--node", type=int, required=True, metavar="I", help="number of this node, from 0")
    parser.add_argument("--attempt", type=int, required=True, metavar="N", help="number of the attempt, from 1")
    parser.add_argument("--start", type=_start, required=True, metavar="ID", help="the same on all nodes of a start")
    parser.add_argument("--address", metavar="HOST", help="where the other nodes reach node 0")
    parser.add_argument("--from-step", type=int, metavar="N", help="go on from the checkpoint of this step")
    parser.add_argument("--from-scratch", action="store_true", help="start at step 0 although there are checkpoints")
    parser.add_argument("--slot-lock", type=Path, metavar="FILE", help="held exclusively while this agent lives")
    parser.add_argument("--pod", type=Path, metavar="FILE", help="in a pod: the file of its termination message")
    found = parser.parse_args(argv)
    found.bundle, found.run_dir = found.bundle.resolve(), found.run_dir.resolve()
    return Options(**vars(found))


def _start(text: str) -> str:
    if not _START.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits and . _ : @ + - only")
    return text
