"""The names of the files and directories of a run, once. Pure.

DIR is the run's directory, ROOT the checkpoint directory, which all nodes share. docs/architecture.md shows the tree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Union

Root = Union[str, Path]
Number = Union[int, str]  # of a node or rank; "*" in a pattern for all of them

# DIR
RUN = "run.json"
PROGRESSED = "progressed.json"  # the run has had a checkpoint that counted
ATTEMPTS = "attempts"

# DIR/attempts/000001
BUNDLE = "bundle"
SECRETS = "secrets.json"  # secrets that were handed over with the job
TRIED = "tried"  # a process was about to submit this attempt
JOB = "job"  # the scheduler's job that claimed the attempt
ASKED = "asked.json"  # the first cancel
TOKEN = "token.json"  # noqa: S105 - a name of a file
HOSTS = "hosts.json"
HOSTFILE = "hostfile"  # the same for programs that read a hostfile

# DIR/attempts/000001/bundle
JOB_FILE = "job.json"
DS_CONFIG = "ds_config.json"
LIBRARY = "lib.zip"
AGENT_SCRIPT = "agent.sh"

# ROOT
OWNER = "owner.json"
GENERATIONS = "generations"
REFUSALS = "refused"  # endings of starts that never had a generation
SET_ASIDE = "set-aside"
MODEL = "model"

# ROOT/generations/000003
RANKS = "ranks"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
PRUNES = "prunes"
PROGRESS = "progress.json"
METRICS = "metrics.jsonl"
OUTCOME = "outcome.json"
SUCCESS = "success.json"
STOPPED = "stopped.json"
NOTES = "notes.jsonl"  # sentences of rank 0 about the script
WORK = "work"  # where a script of the user's own runs
SHOWN = "shown.json"  # what that script finds of the generations before
MANUAL_COMMITS = "manual-commits"  # only a commit manifest proves a checkpoint of this generation

# ROOT/generations/000003/checkpoints/checkpoint-20
COMMIT = "orch-commit.json"

_CLAIM = re.compile(r"(\d{6,})\.json")


def attempt_dir(run_dir: Root, attempt: int) -> Path:
    return Path(run_dir) / ATTEMPTS / f"{attempt:06d}"


def slot(node: int) -> str:
    """In an attempt's directory: node's agent was started."""
    return f"slot-{node}.json"


def slot_lock(node: int) -> str:
    """In an attempt's directory: held by the node's agent for life."""
    return f"lock-{node}"


def ended(node: int) -> str:
    """In an attempt's directory: how the node's agent ended."""
    return f"ended-{node}.json"


def agent_log(node: int) -> str:
    return f"agent-{node}.log"


def generations_dir(root: Root) -> Path:
    return Path(root) / GENERATIONS


def generation_dir(root: Root, generation: int) -> Path:
    """The generation's own directory: it writes nowhere else."""
    return generations_dir(root) / f"{generation:06d}"


def checkpoints_dir(root: Root, generation: int) -> Path:
    return generation_dir(root, generation) / CHECKPOINTS


def work_dir(root: Root, generation: int) -> Path:
    return generation_dir(root, generation) / WORK


def claim(generation: int) -> str:
    """Below generations/: the claim that makes a generation."""
    return f"{generation:06d}.json"


def claimed_generation(name: str) -> int:
    """The generation of a claim's file name; 0 when it is none."""
    match = _CLAIM.fullmatch(name)
    return int(match.group(1)) if match else 0


def joined(node: Number) -> str:
    return f"node-{node}.json"


def heartbeat(node: Number) -> str:
    return f"beat-{node}.json"


def node_exit(node: int) -> str:
    return f"exit-{node}.json"


def stop(node: Number) -> str:
    """In a generation's directory: the node was asked to stop."""
    return f"stop-{node}.json"


def hostfile(node: int) -> str:
    return f"hostfile-{node}"


def rank_process(rank: Number) -> str:
    return f"rank-{rank}.json"


def rank_session(rank: Number) -> str:
    return f"rank-{rank}.session"


def rank_error(rank: Number) -> str:
    return f"rank-{rank}.error.json"


def rank_done(rank: Number) -> str:
    return f"rank-{rank}.done.json"


def rank_log(rank: int) -> str:
    return f"rank-{rank}.log"


def launcher_log(node: int) -> str:
    return f"launcher-{node}.log"
