"""How a generation ends for all nodes: node 0 decides when every node has ended; without node 0 the others do."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Mapping

from orchestrator.job.agent import evidence, fence, hosts, log, outcome
from orchestrator.job.agent.codes import FENCED, STOPPED, Ended
from orchestrator.job.agent.member import Member
from orchestrator.job.agent.outcome import Evidence, Verdict
from orchestrator.job.checkpoints import claiming, generations, retention
from orchestrator.job.checkpoints.layout import own_places
from orchestrator.job.protocol import files
from orchestrator.job.protocol.cause import Cause
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.encoding import to_json
from orchestrator.job.protocol.files import MANUAL_COMMITS
from orchestrator.job.protocol.records import Fault, Outcome, Stopped, Success
from orchestrator.job.system.atomic import create_json, replacing, write_json, write_reserved


def conclude(member: Member) -> Outcome | None:
    """The generation's outcome, once there is one; None while it runs. Raises OSError."""
    if member.result is not None and member.peers.outcome is not None:
        return member.peers.outcome
    if member.number == 0:
        _watch_nodes(member)
        return _decide(member) if _is_over(member) else None
    if member.overtaken:
        return Outcome("failed", because="node 0 has gone on.", restart=True)
    lost = member.peers.lost([0]) or _absent_head(member)
    if not lost:
        return None
    _lose(member, lost)
    return _decide(member)


def write_fenced(member: Member, ended: Ended) -> None:
    """Write the outcome of a generation whose node 0 found a newer claim; only readers use it."""
    fenced = Verdict("fenced", Cause.FENCED, ended.because, False, False, FENCED, None, member.claim.failures)
    _write(member, fenced, None)


def _watch_nodes(member: Member) -> None:
    """End the generation when a node is missing or lost, or when there is no progress.

    Check for lost nodes even if node 0 has failed: its ranks may have failed because of the loss.
    """
    _lose(member, member.peers.lost(node for node in member.peers.still_running() if node != 0))
    if member.result is not None and member.result not in ("done", "stopped"):
        return
    timeouts, missing = member.node.job.timeouts, member.peers.missing()
    if missing and member.age() > timeouts.join:
        nodes = ", ".join(map(str, missing))
        sentence = (
            f"Node {nodes} did not join generation {member.claim.generation} within {timeouts.join:g} s: it has not "
            f"started, or sees another directory than {member.node.root} of {hosts.here()} under that name."
        )
        _lose(member, dict.fromkeys(missing[:1], (Cause.NODE_LOST, sentence)))
    if missing and fence.refusal_of_peer(member.node.root, member.node.options, member.claim.nodes):
        member.end()
    hang = timeouts.hang
    if hang is not None and member.result is None and member.progress_stands_still() > hang:
        member.end_hung(f"Nothing has moved for {hang:g} s; the ranks' logs say where they were.")


def _absent_head(member: Member) -> Mapping[int, tuple[Cause, str]]:
    """Node 0 if it has made the claim and will not join: it died in between, or has recorded a refusal."""
    if 0 not in member.peers.missing():
        return {}
    refusal = fence.refusal_of_peer(member.node.root, member.node.options, member.claim.nodes)
    if refusal is not None and refusal.node == 0:
        return {0: (refusal.cause, refusal.because)}
    join = member.node.job.timeouts.join
    if member.age() <= join:
        return {}
    sentence = f"Node 0 has claimed generation {member.claim.generation} and did not join it within {join:g} s."
    return {0: (Cause.NODE_LOST, sentence)}


def _lose(member: Member, lost: Mapping[int, tuple[Cause, str]]) -> None:
    for node, (cause, sentence) in lost.items():
        if all(fault.node != node for fault in member.faults):
            member.faults.append(Fault(node, time.time(), "Lost", sentence, cause=cause))
    if lost:
        member.end()


def _is_over(member: Member) -> bool:
    gone = {fault.node for fault in member.faults if fault.type == "Lost"}
    running = set(member.peers.still_running()) - gone
    if member.result == "done":  # a stop does not wait for missing nodes: they find the outcome
        running |= set(member.peers.missing()) - gone
    return member.result is not None and not running


def _decide(member: Member) -> Outcome:
    """Decide the outcome, write it with its side files, return the record that won."""
    root, claim = member.node.root, member.claim
    found = _gather(member)
    refusal = fence.refusal_of_peer(root, member.node.options, claim.nodes) if member.peers.missing() else None
    if refusal is not None and refusal.code == STOPPED:
        found = replace(found, asked=found.asked or f"a signal to node {refusal.node} before its ranks had started")
        refusal = None
    decided = outcome.decide(found, member.node.job.signatures)
    host = _host_of_error(member, decided)
    if refusal is not None and decided.result == "failed":
        host = refusal.host
        decided = outcome.refused(decided, refusal)
    if decided.cause is Cause.DISK_FULL:
        retention.drop_unfinished(root, claim.generation)
    if decided.result == "success":
        _write_success(member)
    stands = _write(member, decided, host)
    if member.number == 0 and found.progressed:
        fence.note_progress(member.node.options, member.node.job)
    if member.number == 0 and not (member.directory / MANUAL_COMMITS).exists():
        try:
            retention.prune(root, claim.generation, member.node.job.keep)
        except OSError as error:  # the generation has ended all the same, and the next one prunes again
            log.line(0, f"older checkpoints could not be removed: {error}")
    return stands


def _gather(member: Member) -> Evidence:
    root, claim, directory = member.node.root, member.claim, member.directory
    exits, stops = member.peers.exits, member.peers.stops
    stopped = read(Stopped, directory / files.STOPPED)
    asked = ", ".join(f"{stop.signal} on node {node}" for node, stop in sorted(stops.items())) or None
    own = {id(fault): fault for fault in member.faults if fault.node != member.number or member.number not in exits}
    before = generations.read_outcome(root, claim.generation - 1) if claim.failures else None
    before = before if before and before.result == "failed" else None
    places = [place.step for place in own_places(root, claim.generation) if place.committed or not place.manual]
    reported = [fault for record in exits.values() for fault in record.faults]
    return Evidence(
        faults=(*evidence.rank_errors(directory), *reported, *own.values()),
        finished=_is_finished(member),
        asked=asked,
        stopped_step=stopped.step if stopped else None,
        step=max([*places, claim.resume.step if claim.resume else 0]) or None,
        progressed=claiming.has_progressed(root, claim),
        failures=claim.failures,
        stops=claim.stops,
        max_failures=member.node.job.max_failures,
        out_of_memory=any(record.out_of_memory for record in exits.values()),
        built_in=member.node.job.command is None,
        previous=before.first_error if before else None,
        previous_cause=before.cause if before else None,
    )


def _is_finished(member: Member) -> bool:
    """Whether every rank attested its end. Nodes' records of their own ranks count: network disks cache listings."""
    done = [record.result == "done" for record in member.peers.exits.values()]
    if len(done) == member.claim.nodes and all(done):
        return True
    return len(evidence.done_ranks(member.directory)) == member.node.job.world_size


def _host_of_error(member: Member, decided: Verdict) -> str | None:
    """The machine of the first error; of a node that never joined, its name in the start's hostfile."""
    if decided.fault is None:
        return None
    joined = member.peers.joined.get(decided.fault.node)
    return joined.host if joined else hosts.name_of(decided.fault.node)


def _write(member: Member, decided: Verdict, host: str | None) -> Outcome:
    claim = member.claim
    record = Outcome(
        result=decided.result,
        cause=decided.cause,
        because=decided.because,
        retry=decided.retry,
        restart=decided.restart,
        code=decided.code,
        step=decided.step,
        failures=decided.failures,
        first_error=evidence.first_error(decided.fault, host) if decided.fault else None,
        host=host,
        generation=claim.generation,
        attempt=claim.attempt,
        time=time.time(),
    )
    # The reserve is node 0's; without it, several nodes may conclude at the same moment.
    write = write_reserved if member.number == 0 else create_json
    if write(member.directory / files.OUTCOME, to_json(record)):
        log.line(member.number, f"generation {claim.generation}: {decided.result}. {decided.because}")
        return record
    return generations.read_outcome(member.node.root, claim.generation) or record


def _write_success(member: Member) -> None:
    claim, job = member.claim, member.node.job
    steps = [done.step for done in evidence.done_ranks(member.directory).values() if done.step is not None]
    marker = Success(claim.generation, claim.attempt, max(steps, default=None), time.time())
    write_json(member.directory / files.SUCCESS, to_json(marker))
    model = member.directory / files.MODEL
    if model.is_dir():
        _link(job.root / files.MODEL, Path(os.path.relpath(model, job.root)), member.number)


def _link(link: Path, target: Path, node: int) -> None:
    """Replace a convenience link in one step, unless something else has its name."""
    if link.exists() and not link.is_symlink():
        log.line(node, f"{link} is there already and is left alone; the model is in {target}")
        return
    with replacing(link, sync=False) as temporary:
        temporary.symlink_to(target, target_is_directory=True)
