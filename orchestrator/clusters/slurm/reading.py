"""What an attempt is doing: where its job stands in Slurm, and within that what its own records say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from orchestrator.clusters import observation
from orchestrator.clusters.slurm import reasons, sbatch
from orchestrator.clusters.slurm.answers import Account, Job, tag
from orchestrator.clusters.slurm.states import FORGOTTEN, FORGOTTEN_WORD, Standing, State, state_of
from orchestrator.job.protocol.operations import AttemptRecords
from orchestrator.model.run import Cause, Observation, Phase, Report, Submission

_NOT_WRITABLE = "53"  # what Slurm ends a job with whose output file it cannot open
_ORDINARY = ("None", "")


def jobs_of(submission: Submission, jobs: Iterable[Job], *, claimed: str | None) -> list[Job]:
    """The jobs that were submitted for an attempt. More than one, where an sbatch that timed out was not in vain.

    A site may write its own comment on jobs, and anybody may rename theirs. Such a job counts when it has `claimed` the
    attempt or is its handle, and works in the attempt's directory.
    """
    mine, ids = tag_of(submission), {claimed, submission.handle}
    place = tag("", sbatch.attempt_dir(submission), "")
    return [job for job in jobs if job.tag == mine or (job.id in ids and place in job.tag)]


def tag_of(submission: Submission) -> str:
    """What marks the jobs that were submitted for an attempt."""
    return tag(sbatch.comment(submission.run_id), sbatch.attempt_dir(submission), submission.name)


def job_id(submission: Submission, look: AttemptRecords) -> str | None:
    """The id of the job that is the attempt: the one that claimed it, else the one that it was handed over as."""
    known = look.job or submission.handle
    return known if known is not None and known.isdigit() else None


def chosen(look: AttemptRecords, mine: Sequence[Job]) -> Job | None:
    """Of an attempt's jobs the one that is it: the claimant, else one that is not over, the first."""
    if look.job is not None:
        return next((job for job in mine if job.id == look.job), None)
    return min(mine, key=rank, default=None)


def rank(job: Job) -> tuple[bool, int]:
    """Of the jobs of an attempt that nobody has claimed, the least is the attempt: one that is not over, the oldest."""
    return (_standing(job) is Standing.OVER, int(job.id))


def superfluous(look: AttemptRecords, mine: Sequence[Job]) -> list[str]:
    """Jobs that wait for nothing: another one has claimed the attempt."""
    if look.job is None:
        return []
    return [job.id for job in mine if job.id != look.job and _standing(job) is Standing.WAITING]


def observe(submission: Submission, look: AttemptRecords, job: Job | None) -> Observation:
    """An attempt whose job Slurm shows, or that was not handed over (None)."""
    if submission.handle is None and not look.asked:
        return Observation(phase=Phase.PENDING, raw=_raw(job), report=_history(submission, look))
    if job is None:
        return _over(submission, look, start=None, raw="", cause=Cause.AGENT_LOST, because="it was never handed over")
    state = state_of(job.state)
    if state.standing is Standing.OVER:
        return _ended(submission, look, state, job)
    if state.standing is Standing.ENDING and look.report["success"]:
        return _over(submission, look, start=job.start, raw=_raw(job), cause=state.cause, because="")
    return _LIVING[state.standing](submission, look, job)


def vanished(submission: Submission, look: AttemptRecords, job: str, accounts: Sequence[Account]) -> Observation:
    """An attempt whose job squeue shows no more; `accounts` are its records in sacct, of each start one, or none."""
    if not is_told(accounts):
        because = f"Slurm no longer knows job {job}, and none of its agents said how it ended"
        restarts = _restarts(look, job)
        start = None if restarts is None else f"{job}.{restarts}"
        return _over(submission, look, start=start, raw=f"{job} gone", cause=Cause.AGENT_LOST, because=because)
    last = accounts[-1]
    state = FORGOTTEN if last.state == FORGOTTEN_WORD else state_of(last.state)
    restarts = max(len(accounts) - 1, _restarts(look, job) or 0)  # a site may have purged the first ones
    shown = Job(id=job, restarts=restarts, state=last.state, nodes=last.nodes, reason=f"exit {last.exit}", tag="")
    return _ended(submission, look, state, shown)


def is_told(accounts: Sequence[Account]) -> bool:
    """Whether sacct says how a job ended. It may be behind, and then shows an end as still running or waiting."""
    return bool(accounts) and state_of(accounts[-1].state).standing is Standing.OVER


def unsettled(submission: Submission, look: AttemptRecords, job: str, accounts: Sequence[Account]) -> Observation:
    """An attempt whose job squeue shows no more, and of which sacct does not say yet that it is over."""
    said = f"shows it as {accounts[-1].state}" if accounts else "does not know it or does not answer"
    return unanswered(submission, look, f"job {job} is no longer in the queue, and sacct {said}")


def just_submitted(submission: Submission, look: AttemptRecords) -> Observation:
    """An attempt that was handed over after Slurm's last answer: the next one shows it."""
    phase = Phase.STOPPING if look.asked else Phase.QUEUED
    return Observation(phase=phase, report=_history(submission, look))


def unanswered(submission: Submission, look: AttemptRecords, because: str) -> Observation:
    """An attempt about which Slurm said nothing; its success alone needs no other word."""
    if look.report["success"] and look.owner is None:
        return _over(submission, look, start=None, raw="", cause=Cause.NONE, because="")
    report = observation.report_of_attempt(look, submission.attempt)
    return Observation(phase=Phase.UNKNOWN, because=because, report=report)


def _waiting(submission: Submission, look: AttemptRecords, job: Job) -> Observation:
    phase = Phase.STOPPING if look.asked else Phase.QUEUED
    because = reasons.advice(job.reason, job.id)
    return Observation(phase=phase, raw=_raw(job), because=because, report=_history(submission, look))


def _living(submission: Submission, look: AttemptRecords, job: Job) -> Observation:
    if look.report["start"] == job.start:
        return observation.live_observation(look, submission.attempt, raw=_raw(job))
    phase = Phase.STOPPING if look.asked else Phase.STARTING
    return Observation(phase=phase, raw=_raw(job), report=_history(submission, look))


def _suspended(submission: Submission, look: AttemptRecords, job: Job) -> Observation:
    seen = _living(submission, look, job)
    report = seen.report and dataclasses.replace(seen.report, beat=0)
    return dataclasses.replace(seen, report=report, because=f"job {job.id} is suspended by Slurm")


def _ending(submission: Submission, look: AttemptRecords, job: Job) -> Observation:
    """Over, or about to be queued again: which of the two, the next answer says."""
    return Observation(phase=Phase.STOPPING, raw=_raw(job), report=_history(submission, look))


def _unknown(submission: Submission, look: AttemptRecords, job: Job) -> Observation:
    because = f"Slurm says of job {job.id} that it is {job.state}, which this version of orch does not know"
    report = observation.report_of_attempt(look, submission.attempt)
    return Observation(phase=Phase.UNKNOWN, raw=_raw(job), because=because, report=report)


_LIVING = {
    Standing.WAITING: _waiting,
    Standing.LIVE: _living,
    Standing.SUSPENDED: _suspended,
    Standing.ENDING: _ending,
    Standing.UNKNOWN: _unknown,
}


def _ended(submission: Submission, look: AttemptRecords, state: State, job: Job) -> Observation:
    because = _words(submission, state, job)
    return _over(submission, look, start=job.start, raw=_raw(job), cause=state.cause, because=because)


def _words(submission: Submission, state: State, job: Job) -> str:
    if job.reason.endswith(f":{_NOT_WRITABLE}") or f":{_NOT_WRITABLE}(" in job.reason:
        directory = sbatch.attempt_dir(submission)
        return f"Slurm could not open the job's log in {directory}: see that {job.nodes or 'the nodes'} can write there"
    shown = job.state if job.reason in _ORDINARY else f"{job.state}, {job.reason}"
    return f"{state.words} (job {job.id}: {shown})"


def _over(
    submission: Submission, look: AttemptRecords, *, start: str | None, raw: str, cause: Cause, because: str
) -> Observation:
    """The end, by the records of the start that ended. What an earlier start of the same job said is not its end."""
    report = look.report
    final = report["success"] or report["attempt"] != submission.attempt or not report["retry"]
    if start is not None and not look.asked:
        ended = {node: record for node, record in look.ended.items() if record.get("start", start) == start}
        look = dataclasses.replace(look, ended=ended)
    if report["start"] != start and not final and not look.asked:
        report = {**report, "result": None, "cause": "none", "because": "", "first_error": None}
        look = dataclasses.replace(look, report=report)
    started = look.job is not None or report["attempt"] == submission.attempt
    return observation.ended_observation(submission, look, raw=raw, started=started, cause=cause, because=because)


def _restarts(look: AttemptRecords, job: str) -> int | None:
    """The number of the last start of a job that its records know."""
    named = [look.report["start"], *(record.get("start") for record in look.ended.values())]
    starts = [str(start).rpartition(".") for start in named]
    counts = [int(count) for owner, _, count in starts if owner == job and count.isdigit()]
    return max(counts, default=None)


def _history(submission: Submission, look: AttemptRecords) -> Report:
    """What the run has come to, without the heartbeats and the end of a start that is not this one."""
    return observation.only_history(observation.report_of_attempt(look, submission.attempt))


def _standing(job: Job) -> Standing:
    return state_of(job.state).standing


def _raw(job: Job | None) -> str:
    if job is None:
        return ""
    more = job.nodes or (job.reason if job.reason not in _ORDINARY else "")
    return " ".join(part for part in (job.state, job.id, more) if part)
