"""One run a directory, one agent a slot, one claim a start: what an agent may be, before it starts anything."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from orchestrator.job.agent import hosts, log
from orchestrator.job.agent.codes import FAILED, FENCED, FULL, HOPELESS, PREFLIGHT, SLOT_TAKEN, SUCCESS, Ended
from orchestrator.job.agent.options import Options
from orchestrator.job.checkpoints import generations
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import Root, generation_dir
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Claim, Ending, NodeJoined, Outcome, Owner
from orchestrator.job.protocol.slot import SlotMark
from orchestrator.job.system import lock, proc
from orchestrator.job.system.atomic import create_json, write_json


def has_progressed(options: Options, job: JobFile) -> bool:
    """Whether the run has had a checkpoint that counted, though its checkpoint directory may be gone since."""
    return (read(Owner, options.run_dir / files.PROGRESSED) or Owner()).run_id == job.run_id


def note_progress(options: Options, job: JobFile) -> None:
    """Record in the run directory that a checkpoint has counted, so that deleting checkpoints does not hide it."""
    try:
        if not has_progressed(options, job):
            write_json(options.run_dir / files.PROGRESSED, to_json(Owner(job.name, job.run_id)))
    except OSError as error:
        log.line(options.node, f"cannot record the progress in {options.run_dir}: {error}")


def take_slot(options: Options) -> int | None:
    """Locks the slot for the life of this process; the descriptor must stay open.

    A start has each slot once: submitting an attempt again may start a second agent beside a slow one, which then must
    do nothing, even if the other has ended already. Raises Ended when the slot is taken, or was.
    """
    if options.slot_lock is None:
        return None
    options.slot_lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = lock.acquire(options.slot_lock)
    held = descriptor is None
    holder = (
        read(SlotMark, options.slot_lock) or SlotMark()
    )  # none if no agent held it, or died before it had written it
    if descriptor is None or holder.start == options.start:
        if descriptor is not None:
            os.close(descriptor)
        who = f"another agent of this slot (process {holder.pid or 'unknown'}, start {holder.start})"
        because = f"{options.slot_lock} {'is' if held else 'was'} held by {who}; this one does nothing."
        raise Ended(SLOT_TAKEN, Cause.FENCED, because)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(to_json(SlotMark(os.getpid(), options.start))).encode() + b"\n")
    return descriptor


def own_directory(job: JobFile) -> None:
    """Makes the checkpoint directory this run's. Raises Ended when it is another's, or can't be written."""
    root = job.root
    path = root / files.OWNER
    try:
        root.mkdir(parents=True, exist_ok=True)
        if create_json(path, to_json(Owner(job.name, job.run_id, time.time()))):
            return
        owner = _owner(path)
    except OSError as error:
        because = f"{hosts.here()}: cannot write in the checkpoint directory {root}: {error.strerror}."
        if error.errno in FULL:  # room may be made
            raise Ended(FAILED, Cause.DISK_FULL, f"{because} Make room, or choose another.") from error
        raise Ended(PREFLIGHT, Cause.PREFLIGHT, f"{because} Choose another, or fix it.") from error
    if owner is None:
        because = f"{path} says whose directory this is and cannot be parsed. Fix or remove it, if you are sure."
        raise Ended(HOPELESS, Cause.OWNED, because)
    if owner.run_id != job.run_id:
        raise Ended(
            HOPELESS,
            Cause.OWNED,
            f"{root} belongs to the run {owner.run} ({owner.run_id}), this is {job.name} ({job.run_id}). "
            "Give this job a checkpoint.dir of its own.",
        )


def _owner(path: Path) -> Owner | None:
    try:
        return read(Owner, path)
    except RecordError:
        return None


def check_turn(root: Root, options: Options, seen: int, after: int | None) -> Claim | None:
    """The claim that this node is to join, of its own start and newer than `after`; None: not there yet.

    `seen`: the newest number when this agent started. Raises Ended when the run has finished, or another start has
    made a claim since.
    """
    made = generations.claims(root)  # read once: a claim that appears meanwhile is not older than the newest
    if not made:
        return None
    newest = made[-1]
    if generations.succeeded(root, newest.generation):
        raise Ended(SUCCESS, Cause.COMPLETED, f"The run finished in generation {newest.generation}.")
    if newest.start == options.start:
        outcome = generations.read_outcome(root, newest.generation)
        if outcome is None:
            return newest if newest.generation > (after or 0) else None
        _check_late(root, options, newest, outcome)
        return None
    passed = any(claim.start == options.start for claim in made)
    # One that was there before may still make claims of its own, until it finds that it is fenced.
    before = {claim.start for claim in made if claim.generation <= seen}
    later = newest.generation > seen and newest.start not in before
    if newest.attempt > options.attempt or later or passed:
        raise Ended(FENCED, Cause.FENCED, fenced_by(newest), generation=after)
    return None


def _check_late(root: Root, options: Options, newest: Claim, outcome: Outcome) -> None:
    """Raises Ended if this start ended for good without this node, which came late."""
    took_part = (generation_dir(root, newest.generation) / files.joined(options.node)).exists()
    if outcome.restart or took_part:
        return
    raise Ended(outcome.code, outcome.cause, outcome.because, generation=newest.generation, recorded=True)


def fenced_by(claim: Claim) -> str:
    who = f"Start {claim.start} of attempt {claim.attempt}"
    return f"{who} has claimed generation {claim.generation}: it counts from now on."


def join(root: Root, claim: Claim, node: int, *, device: str, gpus: int | None) -> bool:
    """Takes this node's place in a generation; False when an earlier agent of this node already had it."""
    directory = generation_dir(root, claim.generation)
    for name in (files.RANKS, files.LOGS, files.CHECKPOINTS):
        (directory / name).mkdir(parents=True, exist_ok=True)
    record = NodeJoined(
        node=node,
        host=hosts.here(),
        start=claim.start,
        device=device,
        gpus=gpus,
        time=time.time(),
        process=proc.identity(os.getpid()),
        pid=os.getpid(),
    )
    return create_json(directory / files.joined(node), to_json(record))


def refusal_path(root: Root, node: int) -> Path:
    return Path(root) / files.REFUSALS / files.joined(node)


def forget_refusal(root: Root, options: Options) -> None:
    """Remove an earlier refusal of this node and start, which no longer holds."""
    refusal_path(root, options.node).unlink(missing_ok=True)


def write_refusal(root: Root, options: Options, ended: Ended, seen: int) -> None:
    """Record for the other nodes and for readers that this start ends before it has a generation. Raises OSError.

    `seen`: the newest number when this agent started. A claim of another start since then is newer than this refusal.
    """
    path, newest = refusal_path(root, options.node), generations.newest_claim(root)
    path.parent.mkdir(exist_ok=True)
    known = newest.generation if newest is not None and newest.start == options.start else seen
    write_json(path, to_json(replace(ending(options, ended), generation=known)))


def refusal_of_peer(root: Root, options: Options, nodes: int) -> Ending | None:
    """The refusal of another node of this start that has ended before it had a generation."""
    for node in range(nodes):
        refusal = read(Ending, refusal_path(root, node)) if node != options.node else None
        if refusal is not None and refusal.start == options.start and refusal.attempt == options.attempt:
            return refusal
    return None


def ending(options: Options, ended: Ended) -> Ending:
    """How an agent ended, as a record."""
    return Ending(
        node=options.node,
        host=hosts.here(),
        start=options.start,
        attempt=options.attempt,
        generation=ended.generation,
        code=ended.code,
        result=ended.result,
        cause=ended.cause,
        because=ended.because,
        retry=ended.retry,
        time=time.time(),
    )
