"""The observation of an attempt by its records: of a live one, and of one that has ended."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable

from orchestrator.errors import OrchError
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.operations.records import AttemptRecords, ReadRecords
from orchestrator.job.protocol.records import Ending
from orchestrator.model.run import Cause, Observation, Phase, Question, Report, Submission

STEPPING = frozenset({"training", "saving", "done"})  # states of a job whose ranks are past loading
_OVER_CANCELLED = frozenset({Cause.COMPLETED, Cause.FENCED})


def request_of(question: Question) -> ReadRecords:
    """The operation that answers a question."""
    submission = question.submission
    return ReadRecords(
        run=submission.run,
        run_id=submission.run_id,
        dir=submission.dir,
        checkpoint_dir=submission.checkpoint_dir,
        attempt=submission.attempt,
        nodes=submission.nodes,
        after=question.after,
        metrics=question.metrics,
        mark=question.mark,
    )


def each(questions: Iterable[Question], read: Callable[[Question], Observation]) -> dict[str, Observation]:
    """The answers of `read`, by name of the run. Files of one run that cannot be read, and a bug, hide no other run.

    Raises OrchError: what the cluster does not answer for one run, it does not answer for another.
    """
    seen: dict[str, Observation] = {}
    for question in questions:
        run = question.submission.run
        try:
            seen[run] = read(question)
        except OrchError:
            raise
        except (OSError, RecordError) as error:
            seen[run] = Observation(phase=Phase.UNKNOWN, because=f"its records cannot be read: {error}")
        except Exception as error:  # noqa: BLE001 - the controller logs it with its traceback
            seen[run] = of_bug(error)
    return seen


def of_bug(error: Exception) -> Observation:
    """The observation of an attempt that orch failed to read because of a bug."""
    because = f"a bug in orch, told in the controller's log: {error!r}"
    return Observation(phase=Phase.UNKNOWN, because=because, bug="".join(traceback.format_exception(error)))


def with_records(seen: Observation, records: AttemptRecords) -> Observation:
    """An observation with the generations and metrics of the records."""
    return dataclasses.replace(seen, generations=records.generations, metrics=records.metrics)


def report_of_attempt(records: AttemptRecords, attempt: int) -> Report:
    """The report; of another attempt, only its history."""
    return records.report if records.report.attempt == attempt else only_history(records.report)


def only_history(report: Report) -> Report:
    """A report of another attempt without that attempt's own state and end."""
    return dataclasses.replace(
        report,
        progress=dataclasses.replace(report.progress, step=None),
        result=None,
        cause=Cause.NONE,
        because="",
        retry=True,
        first_error=None,
        host=None,
        failures=0,
        beat=0,
        state=None,
    )


def live_observation(records: AttemptRecords, attempt: int, *, raw: str, partial: str = "") -> Observation:
    """An attempt with live processes."""
    report = report_of_attempt(records, attempt)
    phase = Phase.RUNNING if report.result is None and report.state in STEPPING else Phase.STARTING
    return Observation(phase=Phase.STOPPING if records.asked else phase, raw=raw, report=report, partial=partial)


def ended_observation(
    submission: Submission,
    records: AttemptRecords,
    *,
    raw: str,
    started: bool,
    cause: Cause = Cause.AGENT_LOST,
    because: str = "no agent is left, and none of them recorded how it ended",
) -> Observation:
    """How an attempt without processes has ended: by its own records, else by what its scheduler shows.

    `started`: a process of it has run. `cause` and `because` count if the records show no end. CANCELLED overrides
    them: its agents know only that they were asked to stop, and must not be started again.
    """
    if records.owner is not None:
        foreign = f"the checkpoint directory {submission.checkpoint_dir} belongs to the run {records.owner}"
        return Observation(phase=Phase.STOPPED, cause=Cause.OWNED, raw=raw, because=foreign)
    recorded = _ended_by_generations(submission, records, raw)
    recorded = recorded or _ended_by_agents(submission, records, raw, started=started)
    mine = report_of_attempt(records, submission.attempt)
    if cause is Cause.CANCELLED and records.asked:
        cause = Cause.AGENT_LOST  # orch asked for it, and knows why
    if recorded is not None and (cause is not Cause.CANCELLED or recorded.cause in _OVER_CANCELLED):
        return recorded
    if records.last_words and cause is not Cause.CANCELLED:
        because = f"{because}; {records.last_words}"
    phase = Phase.CANCELLED if cause is Cause.CANCELLED else Phase.FAILED if cause.row.counts else Phase.STOPPED
    return Observation(phase=phase, cause=cause, raw=raw, because=because, report=mine)


def _ended_by_generations(submission: Submission, records: AttemptRecords, raw: str) -> Observation | None:
    report, mine = records.report, report_of_attempt(records, submission.attempt)
    if report.success:
        return Observation(phase=Phase.SUCCEEDED, cause=Cause.COMPLETED, raw=raw, report=report)
    if report.attempt > submission.attempt:
        later = f"attempt {report.attempt} went on in generation {report.generation}"
        return Observation(phase=Phase.STOPPED, cause=Cause.FENCED, raw=raw, because=later, report=mine)
    if mine.result is not None:
        phase = Phase.FAILED if mine.result == "failed" else Phase.STOPPED
        return Observation(phase=phase, cause=mine.cause, raw=raw, because=mine.because, report=mine)
    return None


def _ended_by_agents(submission: Submission, records: AttemptRecords, raw: str, *, started: bool) -> Observation | None:
    mine = report_of_attempt(records, submission.attempt)
    if records.asked and not started:
        early = "it was cancelled before it began"
        return Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, raw=raw, because=early, report=mine)
    if len(records.ended) == submission.nodes:
        return _of_agent(raw, records.ended[0], mine)
    return None


def _of_agent(raw: str, end: Ending, mine: Report) -> Observation:
    """The end of an attempt that never had a generation, as its own agent recorded it."""
    report = dataclasses.replace(
        mine, result=end.result, cause=end.cause, because=end.because, retry=end.retry, host=end.host
    )
    phase = Phase.FAILED if end.result == "failed" else Phase.STOPPED
    return Observation(phase=phase, cause=end.cause, raw=raw, because=end.because, report=report)
