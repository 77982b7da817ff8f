"""What an attempt on hosts is doing: what its hosts said of its agents, and its own records. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.clusters import observation as records
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.model.run import Cause, Observation, Phase, Submission

HERE = "this machine"  # among the names of hosts, of which none has a blank
LOST_SECONDS = 90.0  # no heartbeat, no answer of the host, nobody else left: three times what the job itself allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A node's place on a host.

    `state`: unused, live, gone or elsewhere as its host said, or silent where the host did not answer.
    """

    node: int
    host: str
    state: str


def raw(slots: tuple[Slot, ...]) -> str:
    """The state of every slot, as one word each."""
    return " ".join(f"{slot.node}:{slot.state}" for slot in slots)


def lives(slots: tuple[Slot, ...]) -> bool:
    return any(slot.state == "live" for slot in slots)


def observation(submission: Submission, look: AttemptRecords, slots: tuple[Slot, ...], *, still: float) -> Observation:
    """Phase, cause and report of an attempt. `look` is not older than what is known of the slots where none lives.

    `still`: seconds for which its heartbeats have stood still while its silent hosts were silent.
    """
    elsewhere = next((slot.host for slot in slots if slot.state == "elsewhere"), None)
    report = records.report_of_attempt(look, submission.attempt)
    if elsewhere is not None:
        because = f"it runs on {elsewhere}, which alone can tell"
        return Observation(phase=Phase.UNKNOWN, raw="elsewhere", because=because, report=report)
    if submission.handle is None and not look.asked:
        return Observation(phase=Phase.PENDING, raw=raw(slots), report=report)
    if lives(slots):
        return _living(submission, look, slots)
    silent = [slot for slot in slots if slot.state == "silent"]
    if not silent or _is_told(submission, look):
        started = any(slot.state != "unused" for slot in slots)
        return records.ended_observation(submission, look, raw=raw(slots), started=started)
    names = ", ".join(slot.host for slot in silent)
    if still < LOST_SECONDS:
        because = f"{names} did not answer, and what runs there is not known"
        return Observation(phase=Phase.UNKNOWN, raw=raw(slots), because=because, report=report)
    because = f"{names} did not answer for {still:.0f} s, nor did a heartbeat come, and no agent is left elsewhere"
    seen = records.ended_observation(
        submission, look, raw=raw(slots), started=True, cause=Cause.NODE_LOST, because=because
    )
    if seen.report is not None and seen.report.host is None:
        seen = replace(seen, report=replace(seen.report, host=silent[0].host))
    return seen


def _living(submission: Submission, look: AttemptRecords, slots: tuple[Slot, ...]) -> Observation:
    gone = [slot for slot in slots if slot.state == "gone" and slot.node not in look.ended]
    never = [slot for slot in slots if slot.state == "unused"]
    alone = any(slot.host == HERE for slot in slots)  # then there is no need to say where
    parts = [f"the agent of node {slot.node}{'' if alone else f' ({slot.host})'} is gone" for slot in gone]
    parts += [f"the agent of node {slot.node} was not started{'' if alone else f' on {slot.host}'}" for slot in never]
    seen = records.live_observation(look, submission.attempt, raw=raw(slots), partial="; ".join(parts))
    # The job's own heartbeats judge a host that is silent to us: it may be well, and only far from here.
    silent = ", ".join(slot.host for slot in slots if slot.state == "silent")
    return replace(seen, because=f"{silent} did not answer") if silent else seen


def _is_told(submission: Submission, look: AttemptRecords) -> bool:
    """Whether the records alone say how the attempt ended, whatever still runs where nobody answers.

    An outcome is the end only when an agent has left with it: else the agents may be starting again.
    """
    report = look.report
    if look.owner is not None or report.success or report.attempt > submission.attempt:
        return True
    return report.attempt == submission.attempt and report.result is not None and bool(look.ended)
