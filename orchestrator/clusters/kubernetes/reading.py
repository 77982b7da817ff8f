"""The observation of an attempt, from its job object, its pods and its agents' records. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.clusters import observation
from orchestrator.clusters.kubernetes.events import Trouble
from orchestrator.clusters.kubernetes.kinds import JobStatus, Lifecycle
from orchestrator.clusters.kubernetes.pods import Pod, newest_of
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.job.protocol.pod import LastRecord
from orchestrator.model.run import Cause, Observation, Phase, Report, Submission

_DELETED = "its job object was deleted outside orch"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """All that is known of one attempt. `status` is None if its job object does not exist.

    `asked`: orch itself has ended it. `last_records`: of its agents, by node. `kueue` and `trouble`
    say why it waits. `started`: a container of it has run. `lost`: nodes whose pods hung, and `unstartable`: why a
    container could not start, also where these pods have left the list since.
    """

    status: JobStatus | None
    pods: Sequence[Pod]
    asked: bool
    report: Report | None
    last_records: Mapping[int, LastRecord]
    trouble: Trouble | None = None
    kueue: str = ""
    started: bool = False
    lost: Sequence[str] = ()
    unstartable: str = ""
    patience: float = 600.0


def observe(submission: Submission, view: AttemptView) -> Observation:
    """Phase, cause and report of one attempt."""
    records = _records(submission, view)
    if submission.handle is None and not view.asked:
        report = observation.only_history(records.report)
        return Observation(phase=Phase.PENDING, raw=_raw(view), report=report)
    alive = [pod for pod in view.pods if pod.alive]
    if view.status is not None and view.status.lifecycle is Lifecycle.WAITING and not view.asked:
        return _queued(submission, records, view)
    if view.status is None or view.status.lifecycle in {Lifecycle.SUCCEEDED, Lifecycle.FAILED}:
        if any(pod.running or pod.phase == "Running" for pod in alive):
            return _ending(submission, records, view)
        return _ended(submission, records, view)
    if any(pod.logged and pod.alive for pod in view.pods) or _awaits_operator(view.pods):
        return _live(submission, records, view)
    return _queued(submission, records, view)


def _awaits_operator(pods: Sequence[Pod]) -> bool:
    """Whether all pods have ended and the operator has not updated its object yet."""
    return bool(pods) and not any(pod.alive for pod in newest_of(pods).values())


def _records(submission: Submission, view: AttemptView) -> AttemptRecords:
    """The records as they would be read from the run's directory."""
    mine = [one for one in view.last_records.values() if one.attempt == submission.attempt]
    foreign = next((one.owner for one in mine if one.owner not in {None, submission.run_id}), None)
    ended = {one.node: one.ended for one in mine if one.ended is not None}
    return AttemptRecords(owner=foreign, report=view.report or Report(), asked=view.asked, ended=ended)


def newer(one: Report | None, other: Report | None) -> Report | None:
    """The newer of two reports of a run: by its generation, then its end, then its step."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=_progress)


def _progress(report: Report) -> tuple[int, int, bool, bool, int]:
    return report.attempt, report.generation, report.success, report.result is not None, report.progress.step or 0


def _raw(view: AttemptView) -> str:
    """The operator's condition and the pods' phases, as kubectl shows them."""
    status = "gone" if view.status is None else view.status.raw or "created"
    shown = [f"{pod.number}:{'Terminating' if pod.leaving else pod.phase}" for pod in newest_of(view.pods).values()]
    return " ".join([status, *shown])


def _queued(submission: Submission, records: AttemptRecords, view: AttemptView) -> Observation:
    """An attempt without a process."""
    because, stuck = _waits(view)
    report = observation.only_history(observation.report_of_attempt(records, submission.attempt))
    return Observation(
        phase=Phase.STOPPING if view.asked else Phase.QUEUED,
        raw=_raw(view),
        because=because,
        report=report,
        stuck=stuck,
        patience=view.patience,
    )


def _waits(view: AttemptView) -> tuple[str, str]:
    """(why it waits, why it can't start): of the object first, then of the pods."""
    if view.kueue:
        return view.kueue, ""
    waiting = [pod for pod in view.pods if pod.alive and pod.waits]
    pod = next((pod for pod in waiting if pod.stuck), waiting[0] if waiting else None)
    if pod is not None:
        because = f"pod {pod.name}: {pod.waits}"
        return because, because if pod.stuck else ""
    if view.unstartable:
        return view.unstartable, view.unstartable
    if view.trouble is not None:
        return view.trouble.message, view.trouble.message if view.trouble.stuck else ""
    if view.status is not None and view.status.lifecycle is Lifecycle.WAITING:
        return f"it is suspended: {view.status.because}", ""
    return "", ""


def _live(submission: Submission, records: AttemptRecords, view: AttemptView) -> Observation:
    because, stuck = _waits(view)
    seen = observation.live_observation(records, submission.attempt, raw=_raw(view), partial=_partial(records, view))
    return dataclasses.replace(seen, because=because, stuck=stuck, patience=view.patience)


def _partial(records: AttemptRecords, view: AttemptView) -> str:
    """What a live attempt has lost for good, as its operator will not replace it."""
    if view.lost:
        return _node_lost(view.lost)
    end = records.ended.get(0)
    if end is not None and not end.retry and end.result == "failed":
        return f"node 0 has ended for good: {end.because}"
    return ""


def _node_lost(nodes: Sequence[str]) -> str:
    named = sorted(set(nodes))
    return f"node {', '.join(named)} does not answer, and Kubernetes waits for it" if named else ""


def _ending(submission: Submission, records: AttemptRecords, view: AttemptView) -> Observation:
    """The object has ended or is gone, and pods of it still run."""
    report = observation.report_of_attempt(records, submission.attempt)
    partial = _node_lost(view.lost)
    return Observation(phase=Phase.STOPPING, raw=_raw(view), report=report, partial=partial)


def _ended(submission: Submission, records: AttemptRecords, view: AttemptView) -> Observation:
    started = view.started or bool(view.lost) or records.report.attempt == submission.attempt
    cause, because = _end(view)
    seen = observation.ended_observation(
        submission, records, raw=_raw(view), started=started, cause=cause, because=because
    )
    return _blaming_node(seen, min(view.lost)) if view.lost and seen.cause in _OF_LOST_NODE else seen


# Causes that the other nodes' agents record for an attempt that was ended because of a dead node.
_OF_LOST_NODE = frozenset({Cause.NODE_LOST, Cause.ASKED_TO_STOP})


def _blaming_node(seen: Observation, node: str) -> Observation:
    because = _node_lost([node]) + (f"; {seen.because}" if seen.cause is Cause.ASKED_TO_STOP else "")
    report = dataclasses.replace(seen.report or Report(), cause=Cause.NODE_LOST, because=because, host=node)
    return dataclasses.replace(seen, cause=Cause.NODE_LOST, because=because, report=report)


def _end(view: AttemptView) -> tuple[Cause, str]:
    """The cause of an end that no agent recorded."""
    if view.lost:
        return Cause.NODE_LOST, _node_lost(view.lost)
    pods = newest_of(view.pods).values()  # later starts replaced the older ones
    ended = next((pod for pod in pods if pod.ended_by is not Cause.NONE), None)
    if ended is not None:
        return ended.ended_by, f"pod {ended.name}: {ended.because}"
    failed = next((pod for pod in pods if pod.phase == "Failed" and pod.because), None)
    if failed is not None:
        return Cause.AGENT_LOST, f"pod {failed.name}: {failed.because}"
    if view.status is None:
        return (Cause.AGENT_LOST, "orch ended it") if view.asked else (Cause.ASKED_TO_STOP, _DELETED)
    because = f"its operator says {view.status.raw}: {view.status.because}"
    if view.status.lifecycle is Lifecycle.SUCCEEDED:
        because = f"its operator says {view.status.raw}, and its own records do not say that the training is complete"
    return Cause.AGENT_LOST, because
