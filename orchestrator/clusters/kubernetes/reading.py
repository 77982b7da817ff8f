"""What an attempt is doing, from all that the cluster and its own agents say of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.clusters import observation
from orchestrator.clusters.kubernetes.events import Trouble
from orchestrator.clusters.kubernetes.kinds import JobStatus, Lifecycle
from orchestrator.clusters.kubernetes.pods import Pod, newest_of
from orchestrator.job.protocol.operations import AttemptRecords
from orchestrator.model.run import Cause, Observation, Phase, Report, Submission

_DELETED = "its job object was deleted past orch"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """All there is to see of one attempt. `word` is None where its job object does not exist.

    `asked`: orch itself has ended it. `report` and `words` are what its agents told, by the node's number. `kueue` and
    `trouble` tell why it waits. `started`: a container of it has run. `lost`: nodes whose pods were seen to hang, and
    `unstartable` why a container could not start, though all these pods may be gone from the list since.
    """

    word: JobStatus | None
    pods: Sequence[Pod]
    asked: bool
    report: Mapping[str, Any] | None
    words: Mapping[int, Mapping[str, Any]]
    trouble: Trouble | None = None
    kueue: str = ""
    started: bool = False
    lost: Sequence[str] = ()
    unstartable: str = ""
    patience: float = 600.0


def observe(submission: Submission, sight: AttemptView) -> Observation:
    """Phase, cause and report of one attempt."""
    look = _look(submission, sight)
    if submission.handle is None and not sight.asked:
        report = observation.only_history(observation.report_of(look))
        return Observation(phase=Phase.PENDING, raw=_raw(sight), report=report)
    alive = [pod for pod in sight.pods if pod.alive]
    if sight.word is not None and sight.word.lifecycle is Lifecycle.WAITING and not sight.asked:
        return _queued(submission, look, sight)
    if sight.word is None or sight.word.lifecycle in {Lifecycle.SUCCEEDED, Lifecycle.FAILED}:
        if any(pod.running or pod.phase == "Running" for pod in alive):
            return _ending(submission, look, sight)
        return _over(submission, look, sight)
    if any(pod.logged and pod.alive for pod in sight.pods) or _awaits_operator(sight.pods):
        return _living(submission, look, sight)
    return _queued(submission, look, sight)


def _awaits_operator(pods: Sequence[Pod]) -> bool:
    """All of them have ended, and their operator has yet to say what follows."""
    return bool(pods) and not any(pod.alive for pod in newest_of(pods).values())


def _look(submission: Submission, sight: AttemptView) -> AttemptRecords:
    """The records as they would be read where the disk can be."""
    words = [word for word in sight.words.values() if word.get("attempt") == submission.attempt]
    foreign = next((word["owner"] for word in words if word.get("owner") not in {None, submission.run_id}), None)
    ended = {int(word["node"]): word["ended"] for word in words if isinstance(word.get("ended"), Mapping)}
    return AttemptRecords(owner=foreign, report=_report(sight.report), asked=sight.asked, ended=ended)


def _report(told: Mapping[str, Any] | None) -> dict[str, Any]:
    plain: dict[str, Any] = dataclasses.asdict(Report())
    return {**plain, "cause": "none", **(told or {})}


def newer(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Of two reports of a run the one that knows more: a later generation, an end, a later step."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=_knows)


def _knows(report: Mapping[str, Any]) -> tuple[int, int, bool, bool, int]:
    return (
        int(report.get("attempt") or 0),
        int(report.get("generation") or 0),
        bool(report.get("success")),
        report.get("result") is not None,
        int(report.get("step") or 0),
    )


def _raw(sight: AttemptView) -> str:
    """The operator's own word and how the pods are, as kubectl shows them."""
    word = "gone" if sight.word is None else sight.word.raw or "created"
    shown = [f"{pod.number}:{'Terminating' if pod.leaving else pod.phase}" for pod in newest_of(sight.pods).values()]
    return " ".join([word, *shown])


def _queued(submission: Submission, look: AttemptRecords, sight: AttemptView) -> Observation:
    """It has no process, or none any more."""
    because, stuck = _waits(sight)
    report = observation.only_history(observation.report_of_attempt(look, submission.attempt))
    return Observation(
        phase=Phase.STOPPING if sight.asked else Phase.QUEUED,
        raw=_raw(sight),
        because=because,
        report=report,
        stuck=stuck,
        patience=sight.patience,
    )


def _waits(sight: AttemptView) -> tuple[str, str]:
    """(why it waits, why it can't start): of the object first, then of the pods."""
    if sight.kueue:
        return sight.kueue, ""
    waiting = [pod for pod in sight.pods if pod.alive and pod.waits]
    told = next((pod for pod in waiting if pod.stuck), waiting[0] if waiting else None)
    if told is not None:
        words = f"pod {told.name}: {told.waits}"
        return words, words if told.stuck else ""
    if sight.unstartable:
        return sight.unstartable, sight.unstartable
    if sight.trouble is not None:
        return sight.trouble.words, sight.trouble.words if sight.trouble.stuck else ""
    if sight.word is not None and sight.word.lifecycle is Lifecycle.WAITING:
        return f"it is suspended: {sight.word.because}", ""
    return "", ""


def _living(submission: Submission, look: AttemptRecords, sight: AttemptView) -> Observation:
    because, stuck = _waits(sight)
    seen = observation.live_observation(look, submission.attempt, raw=_raw(sight), partial=_partial(look, sight))
    return dataclasses.replace(seen, because=because, stuck=stuck, patience=sight.patience)


def _partial(look: AttemptRecords, sight: AttemptView) -> str:
    """What is gone of a living attempt and will not come back under its operator."""
    if sight.lost:
        return _node_lost(sight.lost)
    end = look.ended.get(0)
    if end is not None and end.get("retry") is False and end.get("result") == "failed":
        return f"node 0 has ended for good: {end.get('because', '')}"
    return ""


def _node_lost(nodes: Sequence[str]) -> str:
    named = sorted(set(nodes))
    return f"node {', '.join(named)} does not answer, and Kubernetes waits for it" if named else ""


def _ending(submission: Submission, look: AttemptRecords, sight: AttemptView) -> Observation:
    """The object is over or gone, and pods of it still run."""
    report = observation.report_of_attempt(look, submission.attempt)
    partial = _node_lost(sight.lost)
    return Observation(phase=Phase.STOPPING, raw=_raw(sight), report=report, partial=partial)


def _over(submission: Submission, look: AttemptRecords, sight: AttemptView) -> Observation:
    started = sight.started or bool(sight.lost) or observation.report_of(look).attempt == submission.attempt
    cause, because = _end(sight)
    seen = observation.ended_observation(
        submission, look, raw=_raw(sight), started=started, cause=cause, because=because
    )
    return _blaming_node(seen, min(sight.lost)) if sight.lost and seen.cause in _OF_LOST_NODE else seen


# What the agents that are left can say of an attempt that was ended because of a dead node.
_OF_LOST_NODE = frozenset({Cause.NODE_LOST, Cause.ASKED_TO_STOP})


def _blaming_node(seen: Observation, node: str) -> Observation:
    because = _node_lost([node]) + (f"; {seen.because}" if seen.cause is Cause.ASKED_TO_STOP else "")
    report = dataclasses.replace(seen.report or Report(), cause=Cause.NODE_LOST, because=because, host=node)
    return dataclasses.replace(seen, cause=Cause.NODE_LOST, because=because, report=report)


def _end(sight: AttemptView) -> tuple[Cause, str]:
    """What there is to say of an end that the agents said nothing about."""
    if sight.lost:
        return Cause.NODE_LOST, _node_lost(sight.lost)
    pods = newest_of(sight.pods).values()  # what befell those before them was mended by another start
    told = next((pod for pod in pods if pod.ended_by is not Cause.NONE), None)
    if told is not None:
        return told.ended_by, f"pod {told.name}: {told.because}"
    failed = next((pod for pod in pods if pod.phase == "Failed" and pod.because), None)
    if failed is not None:
        return Cause.AGENT_LOST, f"pod {failed.name}: {failed.because}"
    if sight.word is None:
        return (Cause.AGENT_LOST, "orch ended it") if sight.asked else (Cause.ASKED_TO_STOP, _DELETED)
    because = f"its operator says {sight.word.raw}: {sight.word.because}"
    if sight.word.lifecycle is Lifecycle.SUCCEEDED:
        because = f"its operator says {sight.word.raw}, and its own records do not say that the training is complete"
    return Cause.AGENT_LOST, because
