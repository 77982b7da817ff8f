"""What the records of an attempt say: an observation of one that lives, and how one that is gone has ended."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable

from orchestrator.errors import OrchError
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.operations import AttemptRecords, ReadRecords
from orchestrator.job.protocol.records import Ending
from orchestrator.model.run import Cause, Observation, Phase, Question, Report, Submission

STEPPING = frozenset({"training", "saving", "done"})  # states of a job whose ranks are past loading


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
        except Exception as error:  # noqa: BLE001 - told with its traceback by the controller
            seen[run] = of_bug(error)
    return seen


def of_bug(error: Exception) -> Observation:
    """What is known of an attempt that orch itself failed to read."""
    because = f"a bug in orch, told in the controller's log: {error!r}"
    return Observation(phase=Phase.UNKNOWN, because=because, bug="".join(traceback.format_exception(error)))


def with_records(seen: Observation, look: AttemptRecords) -> Observation:
    """An observation with the generations and metrics of a look."""
    return dataclasses.replace(seen, generations=look.generations, metrics=look.metrics)


def report_of_attempt(look: AttemptRecords, attempt: int) -> Report:
    """The report, without what it says of the end of another attempt."""
    return look.report if look.report.attempt == attempt else only_history(look.report)


def only_history(report: Report) -> Report:
    """A report of another attempt, without what it says of that attempt's own state and end."""
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


def live_observation(look: AttemptRecords, attempt: int, *, raw: str, partial: str = "") -> Observation:
    """An attempt of which something runs."""
    report = report_of_attempt(look, attempt)
    phase = Phase.RUNNING if report.result is None and report.state in STEPPING else Phase.STARTING
    return Observation(phase=Phase.STOPPING if look.asked else phase, raw=raw, report=report, partial=partial)


def ended_observation(
    submission: Submission,
    look: AttemptRecords,
    *,
    raw: str,
    started: bool,
    cause: Cause = Cause.AGENT_LOST,
    because: str = "no agent is left, and none of them said how it ended",
) -> Observation:
    """How an attempt of which nothing runs any more has ended, in its own records' words before anybody else's.

    `started`: something of it ran once. `cause` and `because` are what there is to say where the records say nothing.
    CANCELLED says more than they do: its agents know only that they were asked to stop, and must not be started again.
    """
    if look.owner is not None:
        foreign = f"the checkpoint directory {submission.checkpoint_dir} belongs to the run {look.owner}"
        return Observation(phase=Phase.STOPPED, cause=Cause.OWNED, raw=raw, because=foreign)
    said = _said_by_generations(submission, look, raw) or _said_by_agents(submission, look, raw, started=started)
    mine = report_of_attempt(look, submission.attempt)
    if cause is Cause.CANCELLED and look.asked:
        cause = Cause.AGENT_LOST  # orch asked for it, and knows why
    if said is not None and (cause is not Cause.CANCELLED or said.cause in {Cause.COMPLETED, Cause.FENCED}):
        return said
    tell = look.last_words and cause is not Cause.CANCELLED
    words = f"{because}; {look.last_words}" if tell else because
    phase = Phase.CANCELLED if cause is Cause.CANCELLED else Phase.FAILED if cause.row.counts else Phase.STOPPED
    return Observation(phase=phase, cause=cause, raw=raw, because=words, report=mine)


def _said_by_generations(submission: Submission, look: AttemptRecords, raw: str) -> Observation | None:
    report, mine = look.report, report_of_attempt(look, submission.attempt)
    if report.success:
        return Observation(phase=Phase.SUCCEEDED, cause=Cause.COMPLETED, raw=raw, report=report)
    if report.attempt > submission.attempt:
        later = f"attempt {report.attempt} went on in generation {report.generation}"
        return Observation(phase=Phase.STOPPED, cause=Cause.FENCED, raw=raw, because=later, report=mine)
    if mine.result is not None:
        phase = Phase.FAILED if mine.result == "failed" else Phase.STOPPED
        return Observation(phase=phase, cause=mine.cause, raw=raw, because=mine.because, report=mine)
    return None


def _said_by_agents(submission: Submission, look: AttemptRecords, raw: str, *, started: bool) -> Observation | None:
    mine = report_of_attempt(look, submission.attempt)
    if look.asked and not started:
        early = "it was cancelled before it began"
        return Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, raw=raw, because=early, report=mine)
    if len(look.ended) == submission.nodes:
        return _as_said(raw, look.ended[0], mine)
    return None


def _as_said(raw: str, end: Ending, mine: Report) -> Observation:
    """The end of an attempt that never had a generation, as its own agent recorded it."""
    report = dataclasses.replace(
        mine, result=end.result, cause=end.cause, because=end.because, retry=end.retry, host=end.host
    )
    phase = Phase.FAILED if end.result == "failed" else Phase.STOPPED
    return Observation(phase=phase, cause=end.cause, raw=raw, because=end.because, report=report)
