"""SlurmBackend: the Backend protocol on a Slurm cluster, on this machine or through ssh."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.attempts import refuse_other_run, upload_of
from orchestrator.clusters.slurm import answers, reading, sbatch
from orchestrator.clusters.slurm.answers import SacctRecord, SqueueJob
from orchestrator.clusters.slurm.polling import PollTimer
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.clusters.slurm.states import JobStage, state_of
from orchestrator.clusters.transport import LocalTransport, SshTransport, Transport, log_command
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.protocol.operations.attempts import DeleteSecrets, RequestStop
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.protocol.operations.records import AttemptRecords, ReadRecords
from orchestrator.job.protocol.operations.slurm import SubmitToSlurm
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster
from orchestrator.model.run import Observation, Phase, Question, Submission

T = TypeVar("T")

PATIENCE = 90.0  # seconds for which the last answer counts while Slurm does not answer
IDLE = 5.0  # seconds between two reads of the records of an attempt whose job waits
STILL = 15.0  # seconds without a heartbeat after which the last answer counts as out of date
_BOOTING = frozenset({"CONFIGURING", "POWER_UP_NODE"})


@dataclass(slots=True, kw_only=True)
class _LastRead:
    """The last read records of an attempt, their question, and since when its heartbeat has not changed."""

    records: AttemptRecords
    question: Question
    beat: int
    still_since: float
    read_at: float


@dataclass(slots=True, kw_only=True)
class _Gone:
    """A job that has left the queue: since when, its records in sacct, and whether these show its end."""

    since: float
    accounts: list[SacctRecord]
    settled: bool


class SlurmBackend:
    """Caches the last answer of squeue and the last read records, which may be lost."""

    kind = "slurm"
    pace = 1.0
    at_once = 4  # while one waits for sbatch or ssh, the files of another are written

    def __init__(
        self,
        name: str,
        profile: SlurmProfile,
        *,
        reach: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._profile = profile
        self._reach = reach or _reach(profile)
        self._clock = clock
        self._timer = PollTimer(profile.poll)
        self._jobs: list[SqueueJob] = []
        self._by_tag: dict[str, list[SqueueJob]] = {}
        self._by_id: dict[str, SqueueJob] = {}
        self._answered: float | None = None
        self._silence = "Slurm was not asked yet"
        self._acted = True  # orch has changed jobs since the last answer
        self._gone: dict[str, _Gone] = {}
        self._last_read: dict[tuple[str, int], _LastRead] = {}
        self._unread: dict[tuple[str, int], str] = {}
        self._signalled: set[tuple[str, str]] = set()  # starts whose script got SIGTERM, with their state then
        self._forgotten: set[tuple[str, int]] = set()

    def ready(self) -> None:
        shared = self._profile.shared_dir
        if shared is None:
            raise ClusterError(
                f"the cluster {self._name} has no shared_dir: a Slurm job needs a directory that all of its nodes see",
                hint=f"set shared_dir of {self._name} in the configuration, or: orch render job.yaml -c {self._name}",
            )
        if self._profile.login is not None:
            return
        if shutil.which("sbatch") is None:
            raise ClusterError(
                f"there is no sbatch on this machine, so nothing can be submitted to {self._name} from here",
                hint=f"work on a login node of the cluster, or set login of {self._name} to user@host of one",
            )
        if not Path(shared).is_dir():
            raise ClusterError(
                f"the shared_dir of {self._name}, {shared}, is not a directory on this machine",
                hint="create it, or set login where it is only seen on the cluster",
            )

    def probe(self) -> Cluster:
        """What the profile says: to plan and to render contacts nothing. `orch clusters check` asks the cluster."""
        described = Cluster.of_profile(self._name, self._profile)
        return replace(described, gpus_per_node=self._profile.gpus_per_node)

    def hosts(self) -> Sequence[str]:
        ran = self._reach.call(answers.nodes_command(self._profile.partition))
        if ran.status != 0:
            raise Unreachable(f"the nodes of {self._name} cannot be listed, sinfo fails: {_failure(ran)}")
        return [node for node in answers.usable(ran.stdout) if node not in self._profile.exclude]

    def run_dir(self, run: str) -> str:
        return f"{(self._profile.shared_dir or '').rstrip('/')}/runs/{run}"

    # --- submit

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        request = SubmitToSlurm(upload_of(submission, bundle, secrets), self._sbatch(submission, after_others=False))
        self._acted = True
        submitted = self._reach.call(request, seconds=2 * sbatch.SECONDS)
        if submitted.ran is not None:
            log_command(request.sbatch, submitted.ran)
        uploaded = submitted.uploaded
        refuse_other_run(uploaded)
        if uploaded.job is not None or uploaded.asked:
            return uploaded.job or submission.handle or "cancelled"
        first = sbatch.answer(submitted.ran) if submitted.ran is not None else None
        if first is not None and first.job is not None:
            return first.job
        return self._look_up(submission, first, submitted.since)

    def _look_up(self, submission: Submission, answer: sbatch.SbatchAnswer | None, since: str | None) -> str:
        """The job of an attempt that sbatch was, or may have been, called for before; else one more try."""
        found = None if answer is not None and answer.sure else self._find(submission, since)
        if found is not None:
            return found
        if answer is None:
            command = self._sbatch(submission, after_others=True)
            answer = sbatch.answer(self._reach.call(command, seconds=2 * sbatch.SECONDS))
            if answer.job is None and not answer.sure:
                found = self._find(submission, since)
        if answer.job is not None or found is not None:
            return answer.job or found or ""
        where = "" if self._profile.login is None else f" on {self._reach.where}"
        if answer.sure:
            with contextlib.suppress(ClusterError):  # no poll will see this attempt end: delete its secrets now
                self._reach.call(DeleteSecrets(submission.dir, submission.attempt))
            raise ClusterError(
                f"Slurm refused attempt {submission.attempt} of {submission.run}: {answer.message}",
                hint=f"fix the profile {self._name} or the job; orch clusters check {self._name} shows what is there",
            )
        raise Unreachable(
            f"sbatch{where} did not submit {submission.name}, or did not say so ({answer.message}); it is tried again"
        )

    def _find(self, submission: Submission, since: str | None) -> str | None:
        """The job of an attempt by its marks, in squeue and where it answers in sacct. Raises Unreachable."""
        named = answers.named_command(submission.name)
        ran, accounted = self._reach.call(answers.queue_command(), named, seconds=3 * answers.SECONDS)
        if ran.status != 0:
            raise Unreachable(f"{submission.name} may be with Slurm already, and squeue does not say: {_failure(ran)}")
        jobs = reading.jobs_of(submission, answers.queue(ran.stdout), claimed=None)
        known = [job.id for job in sorted(jobs, key=reading.rank)]
        if accounted.status == 0:
            known += answers.named(accounted.stdout, reading.tag_of(submission), since)
        return known[0] if known else None

    def _sbatch(self, submission: Submission, *, after_others: bool) -> RunCommand:
        exclude = sorted({*self._profile.exclude, *submission.exclude})
        return sbatch.command(submission, exclude, options=self._profile.options, after_others=after_others)

    # --- observe

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        if not questions:
            return {}
        submissions = [question.submission for question in questions]
        asked = self._timer.is_due(self._clock(), urgent=self._is_urgent(submissions))
        self._poll(questions, queue=asked)
        if asked:
            self._account(submissions)
        seen = observation.each(questions, lambda one: self._observation(one.submission))
        if asked:
            self._tidy(submissions, seen)
        return seen

    def _is_urgent(self, submissions: Sequence[Submission]) -> bool:
        """Whether the last answer is known to be out of date."""
        known = {job.id for job in self._jobs} | self._gone.keys()
        return self._acted or any(self._is_news(submission, known) for submission in submissions)

    def _is_news(self, submission: Submission, known: Iterable[str]) -> bool:
        last = self._last_read.get(_key(submission))
        if last is None:
            return True
        job = reading.job_id(submission, last.records)
        if job is None:
            return False
        shown = reading.chosen(last.records, self._jobs_of(submission))
        if shown is None:
            return job not in known
        report, stage = last.records.report, state_of(shown.state).stage
        claimed = shown.restarts == 0 and last.records.job == shown.id
        begun = stage is JobStage.WAITING and (claimed or report.start == shown.start)
        ended = report.result is not None and report.start == shown.start and stage is JobStage.LIVE
        still = stage is JobStage.LIVE and report.beat > 0 and self._clock() - last.still_since > STILL
        return begun or ended or still or stage is JobStage.ENDING

    def _poll(self, questions: Sequence[Question], *, queue: bool) -> None:
        """Read the queue before the records, so that these are never older. Raises Unreachable."""
        now = self._clock()
        due = [question for question in questions if queue or not self._is_idle(question, now)]
        if queue:
            self._acted = False
        found = self._read_all([observation.request_of(question) for question in due], queue=queue)
        keys = {_key(question.submission) for question in questions}
        current = {key: last for key, last in self._last_read.items() if key in keys}
        self._unread = {}
        for question, records in zip(due, found, strict=True):
            key = _key(question.submission)
            if isinstance(records, ClusterError):
                self._unread[key] = records.message
                current.pop(key, None)
                continue
            before, beat = self._last_read.get(key), records.report.beat
            current[key] = _LastRead(
                records=records,
                question=question,
                beat=beat,
                still_since=before.still_since if before is not None and before.beat == beat else now,
                read_at=now,
            )
        self._last_read = current

    def _is_idle(self, question: Question, now: float) -> bool:
        """Whether its job waits, so that its records need not be read at every tick, as many jobs may be queued."""
        last = self._last_read.get(_key(question.submission))
        if last is None or last.question != question or now - last.read_at >= IDLE:
            return False
        shown = reading.chosen(last.records, self._jobs_of(question.submission))
        return shown is not None and state_of(shown.state).stage is JobStage.WAITING

    def _jobs_of(self, submission: Submission) -> list[SqueueJob]:
        last = self._last_read.get(_key(submission))
        claimed = last.records.job if last is not None else None
        by_tag = self._by_tag.get(reading.tag_of(submission), [])
        by_id = [self._by_id[job] for job in (claimed, submission.handle) if job in self._by_id]
        candidates = {job.id: job for job in (*by_tag, *by_id)}
        return reading.jobs_of(submission, candidates.values(), claimed=claimed)

    def _read_all(self, requests: Sequence[ReadRecords], *, queue: bool) -> list[AttemptRecords | ClusterError]:
        """The queue and all records in one call, else one by one, so that a broken directory hides one attempt only."""
        asking = [answers.queue_command()] if queue else []
        if not asking and not requests:
            return []
        try:
            found = self._reach.call_all([*asking, *requests], seconds=2 * answers.SECONDS)
        except Unreachable:
            raise
        except ClusterError:
            if queue:
                self._take(self._reach.call(answers.queue_command()))
            return [self._read_alone(request) for request in requests]
        if isinstance(found[0], CommandResult):
            self._take(found[0])
        return [one for one in found if isinstance(one, AttemptRecords)]

    def _read_alone(self, request: ReadRecords) -> AttemptRecords | ClusterError:
        try:
            return self._reach.call(request)
        except Unreachable:
            raise
        except ClusterError as error:
            return error

    def _take(self, ran: CommandResult) -> None:
        """An answer of squeue, or none."""
        now = self._clock()
        if ran.status != 0:
            self._silence = f"Slurm does not answer: {_failure(ran)}"
            self._timer.failed(now)
            return
        jobs = answers.queue(ran.stdout)
        self._timer.answered(now, changed=jobs != self._jobs)
        self._jobs, self._answered = jobs, now
        self._by_id = {job.id: job for job in jobs}
        self._by_tag = {}
        for job in jobs:
            self._by_tag.setdefault(job.tag, []).append(job)

    def _account(self, submissions: Sequence[Submission]) -> None:
        """Ask sacct about each job that has left the queue, until it says how the job ended, but for PATIENCE at most.

        Jobs whose records show success are not asked about.
        """
        if self._answered is None:
            return
        now, wanted = self._clock(), set()
        for submission in self._read(submissions):
            records = self._last_read[_key(submission)].records
            job = reading.job_id(submission, records)
            if job is None:
                continue
            if any(shown.id == job for shown in self._jobs_of(submission)):
                self._gone.pop(job, None)
                continue
            gone = self._gone.setdefault(job, _Gone(since=now, accounts=[], settled=False))
            gone.settled = gone.settled or records.report.success or now - gone.since > PATIENCE
            if not gone.settled:
                wanted.add(job)
        if wanted:
            ran = self._reach.call(answers.account_command(wanted))
            found = answers.accounts(ran.stdout) if ran.status == 0 else {}
            for asked in wanted:
                gone = self._gone[asked]
                gone.accounts = found.get(asked, gone.accounts)
                gone.settled = reading.has_ended(gone.accounts) or answers.has_none(ran)

    def _read(self, submissions: Sequence[Submission]) -> list[Submission]:
        """Those whose records could be read in this poll."""
        return [submission for submission in submissions if _key(submission) in self._last_read]

    def _observation(self, submission: Submission) -> Observation:
        unread = self._unread.get(_key(submission))
        if unread is not None:
            return Observation(phase=Phase.UNKNOWN, because=f"its records cannot be read: {unread}")
        records = self._last_read[_key(submission)].records
        return observation.with_records(self._state(submission, records), records)

    def _state(self, submission: Submission, records: AttemptRecords) -> Observation:
        if self._answered is None or self._clock() - self._answered > PATIENCE:
            return reading.unanswered(submission, records, self._silence)
        job = reading.chosen(records, self._jobs_of(submission))
        known = reading.job_id(submission, records)
        if job is not None or known is None:
            return reading.observe(submission, records, job)
        if submission.handle is None and not records.asked:
            return reading.observe(submission, records, None)
        return self._out_of_the_queue(submission, records, known)

    def _out_of_the_queue(self, submission: Submission, records: AttemptRecords, known: str) -> Observation:
        gone = self._gone.get(known)
        if gone is None:
            return reading.just_submitted(submission, records)
        if not gone.settled and self._clock() - gone.since <= PATIENCE:
            return reading.unsettled(submission, records, known, gone.accounts)
        return reading.vanished(submission, records, known, gone.accounts)

    def _tidy(self, submissions: Sequence[Submission], seen: Mapping[str, Observation]) -> None:
        """Cancel superfluous jobs, and delete the secrets of attempts that have ended."""
        extra: list[str] = []
        operations: list[Operation[object]] = []
        over: set[tuple[str, int]] = set()
        for submission in self._read(submissions):
            records = self._last_read[_key(submission)].records
            extra += reading.superfluous(records, self._jobs_of(submission))
            if seen[submission.run].phase.ended and _key(submission) not in self._forgotten:
                over.add(_key(submission))
                operations.append(DeleteSecrets(submission.dir, submission.attempt))
        if extra:
            self._acted = True
            operations.append(answers.command("scancel", "--state=PENDING", *extra))
        if operations:
            self._reach.call_all(operations)
        self._forgotten |= over

    # --- cancel

    def cancel(self, submission: Submission, *, now: bool) -> None:
        request = RequestStop(submission.dir, submission.attempt)
        self._acted = True
        requested, ran = self._reach.call(request, answers.queue_command(), seconds=2 * answers.SECONDS)
        if ran.status != 0:
            raise Unreachable(f"the job of {submission.name} cannot be found, squeue fails: {_failure(ran)}")
        jobs = reading.jobs_of(submission, answers.queue(ran.stdout), claimed=requested.job)
        left = [job for job in jobs if state_of(job.state).stage is not JobStage.OVER]
        commands = self._ending(left, now=now)
        answered = self._reach.call_all([answers.command(*argv) for argv in commands]) if commands else []
        for done in answered:
            if done.status != 0 and (done.status is None or sbatch.is_unanswered(_failure(done))):
                raise Unreachable(f"scancel of the job of {submission.name} was not answered: {_failure(done)}")
        if all(done.status == 0 for done in answered):
            self._signalled.update((job.start, job.state) for job in left)

    def _ending(self, left: Sequence[SqueueJob], *, now: bool) -> list[list[str]]:
        """The commands that end an attempt's jobs: waiting ones at once, others `now` or after a save."""
        if not left:
            return []
        ids = [job.id for job in left]
        if now:
            # A job's own end comes with a pause for its processes; killing its step leaves them none.
            return [["scancel", "--signal=KILL", *(f"{job}.0" for job in ids)], ["scancel", *ids]]
        booting = [job.id for job in left if job.state in _BOOTING]
        commands = [["scancel", *booting]] if booting else []
        waiting = [job.id for job in left if job.id not in booting and state_of(job.state).stage is JobStage.WAITING]
        if waiting:
            commands.append(["scancel", "--state=PENDING", *waiting])
        unsignalled = [job for job in left if (job.start, job.state) not in self._signalled]
        if unsignalled:
            # Only to the script, which passes it to the agents and then does not requeue the job. A plain scancel
            # leaves them only KillWait (30 s on most clusters) to save.
            commands.append(["scancel", "--batch", "--signal=TERM", *(job.id for job in unsignalled)])
        return commands

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return self._reach.call_all(operations, seconds=seconds)


def _reach(profile: SlurmProfile) -> Transport:
    if profile.login is None:
        return LocalTransport()
    python = profile.python if profile.container is None else None  # a container's is not there outside of it
    return SshTransport(profile.login, config=profile.ssh_config, python=python)


def _key(submission: Submission) -> tuple[str, int]:
    return (submission.run, submission.attempt)


def _failure(ran: CommandResult) -> str:
    if ran.status is None:
        return "it did not answer in time"
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    return "; ".join(lines)[:500] or f"exit status {ran.status}"
