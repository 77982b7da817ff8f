"""An agent's loop: claim or join a generation, run it, conclude it, and again while a restart may help."""

from __future__ import annotations

import os
import time
from typing import NoReturn

from orchestrator.job.agent import fence, hosts, launcher, log, preflight, processes
from orchestrator.job.agent.codes import FAILED, FENCED, FULL, HOPELESS, STOPPED, SUCCESS, Ended
from orchestrator.job.agent.conclude import conclude, write_fenced
from orchestrator.job.agent.environment import read_secrets
from orchestrator.job.agent.heartbeat import Beat
from orchestrator.job.agent.member import TICK, Member, Node
from orchestrator.job.agent.options import Options
from orchestrator.job.agent.peers import Peers
from orchestrator.job.agent.pod import Pod
from orchestrator.job.agent.processes import Inbox
from orchestrator.job.checkpoints import claiming, generations, retention, view
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import append, read
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import SECRETS, generation_dir
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Claim, Note, Outcome, RankProgress

WAIT = 0.05  # seconds between two reads of node 0's claim
MAX_BACKOFF = 60.0  # seconds


def run(options: Options, job: JobFile, inbox: Inbox, pod: Pod | None = None) -> NoReturn:
    """Runs this node until it ends; always raises Ended."""
    fence.own_directory(job)
    if pod is not None:
        pod.own(job.root, job.nodes)
    seen = 0
    try:
        seen = generations.newest_number(job.root)
        fence.forget_refusal(job.root, options)
        secrets = read_secrets(job, os.environ, options.attempt_dir / SECRETS)
        device = preflight.check(job, os.environ)
        if device.warning:
            log.line(options.node, f"warning: {device.warning}")
        _generations(Node(options, job, inbox, Beat(), device, dict(os.environ), secrets, pod), seen)
    except Ended as ended:
        _record_end(options, job, ended, seen)
        raise
    except (OSError, RecordError) as error:
        full = isinstance(error, OSError) and error.errno in FULL
        cause = Cause.DISK_FULL if full else Cause.UNKNOWN
        failed = Ended(FAILED, cause, f"The agent of node {options.node} ({hosts.here()}) failed: {error}")
        _record_end(options, job, failed, seen)
        raise failed from error


def _generations(node: Node, seen: int) -> NoReturn:
    """One generation after the other, until one of them ends for good. `seen`: the newest number at the start."""
    swept = processes.sweep(node.root, node.options.node)
    if swept:
        log.line(node.options.node, f"ended {len(swept)} processes that a dead agent had left behind")
    claim = _next_claim(node, seen, None)
    while True:
        number = claim.generation
        outcome = _generation(node, claim)
        if not outcome.restart:
            raise Ended(outcome.code, outcome.cause, outcome.because, generation=number, recorded=True)
        log.line(node.options.node, f"generation {number} ended: {outcome.because} Starting again.")
        if node.options.node == 0:
            _pause(node, backoff(outcome.failures), number)
        claim = _next_claim(node, seen, number)


def backoff(failures: int) -> float:
    """Seconds before the next generation: none after the first failure in a row, then growing, bounded."""
    return 0.0 if failures <= 1 else min(MAX_BACKOFF, 2.0 ** (failures - 1))


def _record_end(options: Options, job: JobFile, ended: Ended, seen: int) -> None:
    """Record the end for the other nodes and for readers, if no outcome has it."""
    if ended.recorded or ended.code in (SUCCESS, FENCED):
        return
    try:
        fence.write_refusal(job.root, options, ended, seen)
    except OSError as error:
        log.line(options.node, f"cannot record the end in {job.root}: {error}")


def _next_claim(node: Node, seen: int, after: int | None) -> Claim:
    while True:
        _check_stop(node, after)
        claim = _claim(node, after) if node.options.node == 0 else _await_claim(node, seen, after)
        if fence.join(node.root, claim, node.options.node, device=node.device.name, gpus=node.device.gpus):
            return claim
        after = claim.generation  # an agent of this node that is dead has joined it


def _claim(node: Node, after: int | None) -> Claim:
    options, job = node.options, node.job
    request = claiming.Request(
        run=job.name,
        run_id=job.run_id,
        attempt=options.attempt,
        start=options.start,
        nodes=job.nodes,
        address=options.address or launcher.default_address(job.nodes),
        port=launcher.free_port(),
        max_failures=job.max_failures,
        follows=after,
        progressed=fence.has_progressed(options, job),
        from_step=options.from_step,
        from_scratch=options.from_scratch,
    )
    try:
        claim = claiming.claim(node.root, request)
    except claiming.Refused as refused:
        code = {"fenced": FENCED, "finished": SUCCESS}.get(refused.cause, HOPELESS)
        cause = Cause.COMPLETED if refused.cause == "finished" else Cause(refused.cause)
        raise Ended(code, cause, refused.because, generation=after) from refused
    if claim.resume is not None:
        fence.note_progress(options, job)
    log.line(0, _sentence(claim))
    if job.command is not None:
        view.lay_out(node.root, claim, options.bundle / job.code if job.code else None)
        _note_loss(node, claim)
    for path in retention.set_aside(node.root, claim):
        log.line(0, f"moved {path} to set-aside/")
    if (options.from_scratch or options.from_step is not None) and claim.asked is None and after is None:
        log.line(0, f"attempt {options.attempt} has gone back once, as asked; it goes on from there")
    return claim


def _note_loss(node: Node, claim: Claim) -> None:
    """Says that steps were made and nothing that counts was saved: a script may save where orch does not look."""
    before = generations.newest_before(node.root, claim.generation) if claim.resume is None else None
    progress = read(RankProgress, generation_dir(node.root, before) / files.PROGRESS) if before else None
    if progress is None or not progress.step or claim.asked is not None:
        return
    text = (
        f"starts at step 0 again: generation {before} came to step {progress.step}, and no whole checkpoint was found "
        "in its working directory or in $ORCH_CHECKPOINT_DIR"
    )
    log.line(0, text)
    append(generation_dir(node.root, claim.generation) / files.NOTES, Note(text, time.time()))


def _sentence(claim: Claim) -> str:
    start = f"from {claim.resume.path}" if claim.resume else "from step 0"
    rejected = "".join(f"; not from {entry.path}: {entry.why}" for entry in claim.rejected)
    return f"generation {claim.generation} of {claim.run}, attempt {claim.attempt}, {start}{rejected}"


def _await_claim(node: Node, seen: int, after: int | None) -> Claim:
    """Node 0's next claim. Raises Ended when there will be none."""
    options, job = node.options, node.job
    deadline = time.monotonic() + job.timeouts.join
    before = generations.read_claim(node.root, after) if after is not None else None
    peers = Peers(node.root, before, heartbeat=job.timeouts.heartbeat) if before is not None else None
    while True:
        claim = fence.check_turn(node.root, options, seen, after)
        if claim is not None:
            return claim
        refusal = fence.refusal_of_peer(node.root, options, job.nodes)
        if refusal is not None:
            because = f"Node {refusal.node} has ended this start: {refusal.because}"
            raise Ended(refusal.code, refusal.cause, because, generation=after)
        _check_stop(node, after)
        if peers is not None:
            peers.refresh()
            for cause, because in peers.lost([0]).values():
                raise Ended(FAILED, cause, because, generation=after)
        if time.monotonic() > deadline:
            raise Ended(
                FAILED,
                Cause.NODE_LOST,
                f"Node {options.node} ({hosts.here()}) saw no claim of start {options.start} in {node.root} "
                f"for {job.timeouts.join:g} s: node 0 has not started, or sees another directory.",
                generation=after,
            )
        node.inbox.wait(WAIT)


def _check_stop(node: Node, generation: int | None) -> None:
    if node.inbox.stop is not None:
        because = f"Asked to stop by {node.inbox.stop.name} on node {node.options.node}, before the ranks had started."
        raise Ended(STOPPED, Cause.ASKED_TO_STOP, because, generation=generation)


def _pause(node: Node, seconds: float, generation: int) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _check_stop(node, generation)
        node.inbox.wait(min(TICK, max(0.0, end - time.monotonic())))
    _check_stop(node, generation)


def _generation(node: Node, claim: Claim) -> Outcome:
    """Runs one generation to its end and returns its outcome."""
    member = Member(node, claim)
    try:
        member.start()
        while True:
            node.inbox.wait(TICK)
            member.update()
            outcome = conclude(member)
            if outcome is not None:
                return outcome
    except Ended as ended:
        if node.options.node == 0:
            write_fenced(member, ended)
        raise
    finally:
        member.close()
