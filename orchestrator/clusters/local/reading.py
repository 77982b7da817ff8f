"""What a local attempt is doing: its locks first, then its own records, so that the records are never older."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.clusters import observation
from orchestrator.clusters.attempts import start_id
from orchestrator.clusters.local.slots import Slot, State, attempt_dir, read_slot, this_host
from orchestrator.job.protocol.operations import AttemptRecords
from orchestrator.job.remote import records as site
from orchestrator.model.run import Observation, Phase, Question, Submission


def observe(question: Question) -> Observation:
    """The state of one attempt, with what was asked for of its run's records."""
    submission = question.submission
    directory, start = attempt_dir(submission), start_id(submission)
    slots = [read_slot(directory, node, start) for node in range(submission.nodes)]
    found = site.read_records(observation.request_of(question))
    return observation.with_records(_state(submission, slots, found), found)


def _state(submission: Submission, slots: Sequence[Slot], found: AttemptRecords) -> Observation:
    mine = observation.report_of_attempt(found, submission.attempt)
    raw = _raw(slots)
    elsewhere = next((slot.host for slot in slots if slot.host not in {None, this_host()}), None)
    if elsewhere is not None:
        because = f"it runs on {elsewhere}, which alone can tell"
        return Observation(phase=Phase.UNKNOWN, raw="elsewhere", because=because, report=mine)
    if submission.handle is None and not found.asked:
        return Observation(phase=Phase.PENDING, raw=raw, report=mine)
    if any(slot.state in {State.LIVE, State.BOOTING} for slot in slots):
        return observation.live_observation(found, submission.attempt, raw=raw, partial=_partial(slots))
    started = any(slot.state is not State.UNUSED for slot in slots)
    return observation.ended_observation(submission, found, raw=raw, started=started)


def _partial(slots: Sequence[Slot]) -> str:
    # An agent that said how it ended has told the others; one that was killed may have left them waiting.
    killed = [slot.node for slot in slots if slot.state is State.GONE and slot.end is None]
    return f"the agent of node {', '.join(map(str, killed))} is gone" if killed else ""


def _raw(slots: Sequence[Slot]) -> str:
    return " ".join(f"{slot.node}:{slot.state.value}" for slot in slots)
