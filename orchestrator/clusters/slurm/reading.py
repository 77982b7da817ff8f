"""The observation of an attempt, from the state of its job in Slurm and from its own records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from orchestrator.clusters import observation
from orchestrator.clusters.slurm import reasons, sbatch
from orchestrator.clusters.slurm.answers import SacctRecord, SqueueJob, tag
from orchestrator.clusters.slurm.states import FORGOTTEN, FORGOTTEN_STATE, JobStage, State, state_of
from orchestrator.job.protocol.operations.records import AttemptRecords
from orchestrator.model.run import Cause, Observation, Phase, Report, Submission

_NOT_WRITABLE = "53"  # the exit status of a job whose output file Slurm could not open
_ORDINARY = ("None", "")


def jobs_of(submission: Submission, jobs: Iterable[SqueueJob], *, claimed: str | None) -> list[SqueueJob]:
    """The jobs that were submitted for an attempt. There may be several: an sbatch that timed out may have submitted.

    Sites may replace comments and users may rename jobs. Such a job counts if it works in the attempt's directory and
    has `claimed` the attempt or is its handle.
    """
    mine, ids = tag_of(submission), {claimed, submission.handle}
    place = tag("", sbatch.attempt_dir(submission), "")
    return [job for job in jobs if job.tag == mine or (job.id in ids and place in job.tag)]


def tag_of(submission: Submission) -> str:
    """The tag of the jobs that were submitted for an attempt."""
    return tag(sbatch.comment(submission.run_id), sbatch.attempt_dir(submission), submission.name)


def job_id(submission: Submission, records: AttemptRecords) -> str | None:
    """The id of an attempt's job: the one that claimed the attempt, else its handle."""
    known = records.job or submission.handle
    return known if known is not None and known.isdigit() else None


def chosen(records: AttemptRecords, mine: Sequence[SqueueJob]) -> SqueueJob | None:
    """The attempt's job: the one that claimed the attempt, else the first live one."""
    if records.job is not None:
        return next((job for job in mine if job.id == records.job), None)
    return min(mine, key=rank, default=None)


def rank(job: SqueueJob) -> tuple[bool, int]:
    """Sort key for an unclaimed attempt's jobs: live ones first, then the oldest."""
    return (_stage(job) is JobStage.OVER, int(job.id))


def superfluous(records: AttemptRecords, mine: Sequence[SqueueJob]) -> list[str]:
    """Waiting jobs of an attempt that another job has claimed."""
    if records.job is None:
        return []
    return [job.id for job in mine if job.id != records.job and _stage(job) is JobStage.WAITING]


def observe(submission: Submission, records: AttemptRecords, job: SqueueJob | None) -> Observation:
    """An attempt whose job is in squeue, or that was not dispatched (None)."""
    if submission.handle is None and not records.asked:
        return Observation(phase=Phase.PENDING, raw=_raw(job), report=_history(submission, records))
    if job is None:
        return _over(submission, records, start=None, raw="", cause=Cause.AGENT_LOST, because="it was never submitted")
    state = state_of(job.state)
    if state.stage is JobStage.OVER:
        return _ended(submission, records, state, job)
    if state.stage is JobStage.ENDING and records.report.success:
        return _over(submission, records, start=job.start, raw=_raw(job), cause=state.cause, because="")
    return _BY_STAGE[state.stage](submission, records, job)


def vanished(submission: Submission, records: AttemptRecords, job: str, accounts: Sequence[SacctRecord]) -> Observation:
    """An attempt whose job has left squeue; `accounts` are its records in sacct, one for each start, if any."""
    if not has_ended(accounts):
        because = f"Slurm no longer knows job {job}, and none of its agents recorded how it ended"
        restarts = _restarts(records, job)
        start = None if restarts is None else f"{job}.{restarts}"
        return _over(submission, records, start=start, raw=f"{job} gone", cause=Cause.AGENT_LOST, because=because)
    last = accounts[-1]
    state = FORGOTTEN if last.state == FORGOTTEN_STATE else state_of(last.state)
    restarts = max(len(accounts) - 1, _restarts(records, job) or 0)  # a site may have purged older records
    shown = SqueueJob(id=job, restarts=restarts, state=last.state, nodes=last.nodes, reason=f"exit {last.exit}", tag="")
    return _ended(submission, records, state, shown)


def has_ended(accounts: Sequence[SacctRecord]) -> bool:
    """Whether sacct knows how a job ended. It may lag, and then shows an ended job as running or waiting."""
    return bool(accounts) and state_of(accounts[-1].state).stage is JobStage.OVER


def unsettled(
    submission: Submission, records: AttemptRecords, job: str, accounts: Sequence[SacctRecord]
) -> Observation:
    """An attempt whose job has left squeue and has not ended yet in sacct."""
    state = f"shows it as {accounts[-1].state}" if accounts else "does not know it or does not answer"
    return unanswered(submission, records, f"job {job} is no longer in the queue, and sacct {state}")


def just_submitted(submission: Submission, records: AttemptRecords) -> Observation:
    """An attempt that was submitted after the last poll; the next one shows it."""
    phase = Phase.STOPPING if records.asked else Phase.QUEUED
    return Observation(phase=phase, report=_history(submission, records))


def unanswered(submission: Submission, records: AttemptRecords, because: str) -> Observation:
    """An attempt of which Slurm's state is not known; only a recorded success needs no confirmation."""
    if records.report.success and records.owner is None:
        return _over(submission, records, start=None, raw="", cause=Cause.NONE, because="")
    report = observation.report_of_attempt(records, submission.attempt)
    return Observation(phase=Phase.UNKNOWN, because=because, report=report)


def _waiting(submission: Submission, records: AttemptRecords, job: SqueueJob) -> Observation:
    phase = Phase.STOPPING if records.asked else Phase.QUEUED
    because = reasons.advice(job.reason, job.id)
    return Observation(phase=phase, raw=_raw(job), because=because, report=_history(submission, records))


def _live(submission: Submission, records: AttemptRecords, job: SqueueJob) -> Observation:
    if records.report.start == job.start:
        return observation.live_observation(records, submission.attempt, raw=_raw(job))
    phase = Phase.STOPPING if records.asked else Phase.STARTING
    return Observation(phase=phase, raw=_raw(job), report=_history(submission, records))


def _suspended(submission: Submission, records: AttemptRecords, job: SqueueJob) -> Observation:
    seen = _live(submission, records, job)
    report = seen.report and dataclasses.replace(seen.report, beat=0)
    return dataclasses.replace(seen, report=report, because=f"job {job.id} is suspended by Slurm")


def _ending(submission: Submission, records: AttemptRecords, job: SqueueJob) -> Observation:
    """It has ended or will be requeued; the next poll shows which."""
    return Observation(phase=Phase.STOPPING, raw=_raw(job), report=_history(submission, records))


def _unknown(submission: Submission, records: AttemptRecords, job: SqueueJob) -> Observation:
    because = f"Slurm says of job {job.id} that it is {job.state}, which this version of orch does not know"
    report = observation.report_of_attempt(records, submission.attempt)
    return Observation(phase=Phase.UNKNOWN, raw=_raw(job), because=because, report=report)


_BY_STAGE = {
    JobStage.WAITING: _waiting,
    JobStage.LIVE: _live,
    JobStage.SUSPENDED: _suspended,
    JobStage.ENDING: _ending,
    JobStage.UNKNOWN: _unknown,
}


def _ended(submission: Submission, records: AttemptRecords, state: State, job: SqueueJob) -> Observation:
    because = _end_message(submission, state, job)
    return _over(submission, records, start=job.start, raw=_raw(job), cause=state.cause, because=because)


def _end_message(submission: Submission, state: State, job: SqueueJob) -> str:
    if job.reason.endswith(f":{_NOT_WRITABLE}") or f":{_NOT_WRITABLE}(" in job.reason:
        directory = sbatch.attempt_dir(submission)
        return f"Slurm could not open the job's log in {directory}: see that {job.nodes or 'the nodes'} can write there"
    shown = job.state if job.reason in _ORDINARY else f"{job.state}, {job.reason}"
    return f"{state.message} (job {job.id}: {shown})"


def _over(
    submission: Submission, records: AttemptRecords, *, start: str | None, raw: str, cause: Cause, because: str
) -> Observation:
    """The end, by the records of the start that ended, not by those of an earlier start of the same job."""
    report = records.report
    final = report.success or report.attempt != submission.attempt or not report.retry
    if start is not None and not records.asked:
        ended = {node: record for node, record in records.ended.items() if record.start in {None, start}}
        records = dataclasses.replace(records, ended=ended)
    if report.start != start and not final and not records.asked:
        report = dataclasses.replace(report, result=None, cause=Cause.NONE, because="", first_error=None)
        records = dataclasses.replace(records, report=report)
    started = records.job is not None or report.attempt == submission.attempt
    return observation.ended_observation(submission, records, raw=raw, started=started, cause=cause, because=because)


def _restarts(records: AttemptRecords, job: str) -> int | None:
    """The number of the last start in a job's records."""
    named = [records.report.start, *(record.start for record in records.ended.values())]
    starts = [str(start).rpartition(".") for start in named]
    counts = [int(count) for owner, _, count in starts if owner == job and count.isdigit()]
    return max(counts, default=None)


def _history(submission: Submission, records: AttemptRecords) -> Report:
    """The run's progress, without the heartbeats and the end of another start."""
    return observation.only_history(observation.report_of_attempt(records, submission.attempt))


def _stage(job: SqueueJob) -> JobStage:
    return state_of(job.state).stage


def _raw(job: SqueueJob | None) -> str:
    if job is None:
        return ""
    more = job.nodes or (job.reason if job.reason not in _ORDINARY else "")
    return " ".join(part for part in (job.state, job.id, more) if part)
