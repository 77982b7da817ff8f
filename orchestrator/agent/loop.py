"""An agent's life: claim or join, run the generation, settle how it ended, and again while that makes sense."""

from __future__ import annotations

import os
import time
from typing import Any, Mapping, NoReturn

from orchestrator.agent import fence, launcher, preflight, processes, say
from orchestrator.agent.beat import Beat
from orchestrator.agent.codes import FAILED, FENCED, HOPELESS, STOPPED, SUCCESS, Ended
from orchestrator.agent.environment import read_secrets
from orchestrator.agent.job import Job
from orchestrator.agent.member import TICK, Member, Node
from orchestrator.agent.options import Options
from orchestrator.agent.processes import Inbox
from orchestrator.agent.settle import settle, write_fenced
from orchestrator.checkpoints import claiming, generations, retention
from orchestrator.checkpoints.generations import Claim

WAIT = 0.05  # seconds between two looks for node 0's claim
MAX_BACKOFF = 60.0  # seconds


def run(options: Options, job: Job, inbox: Inbox) -> NoReturn:
    """Runs this node until it ends; always raises Ended, or OSError when the checkpoint directory fails."""
    secrets = read_secrets(job, os.environ)
    fence.own_directory(job)
    seen = generations.newest_number(job.checkpoint_dir)
    fence.forget_refusal(job.checkpoint_dir, options)
    after: int | None = None
    try:
        device = preflight.check(job, os.environ)
        if device.warning:
            say.line(options.node, f"warning: {device.warning}")
        node = Node(options, job, inbox, Beat(), device, dict(os.environ), secrets)
        claim = _next_claim(node, seen, None)
    except Ended as ended:
        _leave_word(options, job, ended)
        raise
    while True:
        after = claim.generation
        ended_as = _generation(node, claim)
        if not ended_as.get("restart"):
            raise Ended(int(ended_as["code"]), ended_as["cause"], ended_as["because"], generation=after)
        say.line(options.node, f"generation {after} ended: {ended_as['because']} Starting again.")
        _pause(node, backoff(int(ended_as.get("failures", 0))), after)
        claim = _next_claim(node, seen, after)


def backoff(failures: int) -> float:
    """Seconds before the next generation: none after the first failure in a row, then growing, bounded."""
    return 0.0 if failures <= 1 else min(MAX_BACKOFF, 2.0 ** (failures - 1))


def _leave_word(options: Options, job: Job, ended: Ended) -> None:
    if ended.code not in (SUCCESS, FENCED):
        fence.write_refusal(job.checkpoint_dir, options, ended)


def _next_claim(node: Node, seen: int, after: int | None) -> Claim:
    while True:
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
        from_step=options.from_step,
        from_scratch=options.from_scratch,
    )
    try:
        claim = claiming.claim(node.root, request)
    except claiming.Refused as refused:
        code = {"fenced": FENCED, "finished": SUCCESS}.get(refused.cause, HOPELESS)
        cause = "completed" if refused.cause == "finished" else refused.cause
        raise Ended(code, cause, refused.because, generation=after) from refused
    say.line(0, _sentence(claim))
    for path in retention.set_aside(node.root, claim):
        say.line(0, f"moved {path} to set-aside/")
    swept = processes.sweep(node.root, 0)
    if swept:
        say.line(0, f"ended {len(swept)} processes that a dead agent had left behind")
    return claim


def _sentence(claim: Claim) -> str:
    start = f"from {claim.resume.path}" if claim.resume else "from step 0"
    rejected = "".join(f"; not from {entry.path}: {entry.why}" for entry in claim.rejected)
    return f"generation {claim.generation} of {claim.run}, attempt {claim.attempt}, {start}{rejected}"


def _await_claim(node: Node, seen: int, after: int | None) -> Claim:
    """Node 0's next claim. Raises Ended when there will be none."""
    options, job = node.options, node.job
    deadline = time.monotonic() + job.timeouts.join
    while True:
        claim = fence.check_turn(node.root, options, seen, after)
        if claim is not None:
            processes.sweep(node.root, options.node)
            return claim
        refusal = fence.refusal_of_peer(node.root, options, job.nodes)
        if refusal is not None:
            because = f"Node {refusal['node']} has ended this start: {refusal['because']}"
            raise Ended(int(refusal["code"]), refusal["cause"], because, generation=after)
        _check_stop(node, after)
        if time.monotonic() > deadline:
            raise Ended(
                FAILED,
                "node_lost",
                f"Node {options.node} ({os.uname().nodename}) saw no claim of start {options.start} in {node.root} "
                f"for {job.timeouts.join:g} s: node 0 has not started, or sees another directory.",
                generation=after,
            )
        node.inbox.wait(WAIT)


def _check_stop(node: Node, generation: int | None) -> None:
    if node.inbox.stop is not None:
        because = f"Asked to stop by {node.inbox.stop.name} on node {node.options.node}, before the ranks had started."
        raise Ended(STOPPED, "asked_to_stop", because, generation=generation)


def _pause(node: Node, seconds: float, generation: int) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _check_stop(node, generation)
        node.inbox.wait(min(TICK, max(0.0, end - time.monotonic())))
    _check_stop(node, generation)


def _generation(node: Node, claim: Claim) -> Mapping[str, Any]:
    """Runs one generation to its end and returns its outcome."""
    member = Member(node, claim)
    try:
        member.start()
        while True:
            node.inbox.wait(TICK)
            member.look()
            settled = settle(member)
            if settled is not None:
                return settled
    except Ended as ended:
        if node.options.node == 0:
            write_fenced(member, ended)
        raise
    finally:
        member.close()
