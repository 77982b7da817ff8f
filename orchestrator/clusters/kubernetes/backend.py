"""KubernetesBackend: the Backend protocol on a cluster that serves PyTorchJob, TrainJob or JobSet."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.clusters import observation
from orchestrator.clusters.kubernetes import nodes, objects, reading
from orchestrator.clusters.kubernetes.answers import Node
from orchestrator.clusters.kubernetes.api import Api, Refused
from orchestrator.clusters.kubernetes.discovery import Discovery
from orchestrator.clusters.kubernetes.kinds import JOB_RESOURCES, resource_of
from orchestrator.clusters.kubernetes.log_records import RecordLog
from orchestrator.clusters.kubernetes.logfiles import Reader
from orchestrator.clusters.kubernetes.logs import PodLogs
from orchestrator.clusters.kubernetes.pod_watch import PodWatch
from orchestrator.clusters.kubernetes.pods import Pod, newest_of
from orchestrator.clusters.kubernetes.profile import GANGS, KubernetesProfile
from orchestrator.clusters.kubernetes.snapshot import Key, Snapshot, key_of, pods_of_attempt, take
from orchestrator.errors import ClusterError
from orchestrator.job.protocol.operations import SECONDS, Operation
from orchestrator.job.protocol.operations.runs import Removed, RemoveRun
from orchestrator.job.protocol.operations.texts import CheckpointList, ListCheckpoints, LogTexts, ReadLogs
from orchestrator.job.protocol.pod import LastRecord
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster
from orchestrator.model.run import Cause, Mark, Metrics, Observation, Phase, Question, Report, Submission

T = TypeVar("T")

CALM = 10.0  # seconds between two polls while every run trains or waits as before; a changed pod triggers an early one
BUSY = 2.0  # while something starts, changes or ends, and while a user follows a run
SILENT_PODS = 3  # of one node that ended before their agents began; the next one will, too
READS = 100  # logs read in one poll, of runs that no user follows


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """What was seen of an attempt, including of pods that are no longer listed."""

    last_records: dict[int, LastRecord] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    started: bool = False
    unstartable: str = ""
    silent: dict[int, set[str]] = field(default_factory=dict)
    silent_end: str = ""

    def see(self, pods: Iterable[Pod], attempt: int) -> None:
        for pod in pods:
            self.started = self.started or pod.logged
            if pod.last_record is not None and pod.last_record.attempt == attempt:
                self.last_records[pod.number] = pod.last_record
            if pod.lost and pod.node is not None:
                self.lost.add(pod.node)
            if pod.stuck and not pod.alive:
                self.unstartable = f"pod {pod.name}: {pod.stuck}"
            elif pod.running:
                self.unstartable = ""
            if pod.last_record is not None:
                self.silent.pop(pod.number, None)
            elif pod.phase == "Failed" and not pod.leaving and pod.ended_by is not Cause.PREEMPTED:
                self.silent.setdefault(pod.number, set()).add(pod.uid)
                self.silent_end = f"pod {pod.name}: {pod.because}"

    def cannot_start(self, report: Report | None, attempt: int) -> str:
        """Why none of its containers can start, or none of its agents begin, while its operator keeps trying."""
        began = report is not None and report.attempt == attempt
        again = max((len(uids) for uids in self.silent.values()), default=0)
        if self.unstartable or began or again < SILENT_PODS:
            return self.unstartable
        return f"{again} pods of a node have ended one after another before orch could begin in them; {self.silent_end}"


class KubernetesBackend:
    """Holds the connection and a cache of what was last seen, which may be lost."""

    kind = "kubernetes"
    at_once = 4

    def __init__(
        self,
        name: str,
        profile: KubernetesProfile,
        home: Path | str,
        *,
        api: Api | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._profile = profile
        self._home = Path(home)
        self._api = api or Api(name, profile)
        self._clock = clock
        self._discovery = Discovery(name, profile, self._api)
        self._watch = PodWatch(self._api)
        self._pace = BUSY
        self._phases: Mapping[str, tuple[Phase, str]] = {}  # of the last poll, with their reasons
        self._attempts: dict[Key, _Attempt] = {}
        self._reports: dict[str, Report] = {}  # the newest of each run, some from pods that are gone
        self._logs: dict[str, PodLogs] = {}
        self._asked: set[Key] = set()
        self._reader = Reader()

    @property
    def pace(self) -> float:
        """Seconds until the next poll; 0 when a pod has changed since the last one."""
        return 0.0 if self._watch.is_set else self._pace

    def ready(self) -> None:
        self._discovery.check()

    def probe(self) -> Cluster:
        """The profile as a cluster. Only the kind that `auto` stands for is asked of the API server, if it answers."""
        try:
            kind = self._discovery.job_kind()
        except ClusterError:
            kind = None
        profile = self._profile if kind is None else dataclasses.replace(self._profile, job_kind=kind)
        part = profile.gpu_resource if "/mig-" in profile.gpu_resource else None
        return dataclasses.replace(Cluster.of_profile(self._name, profile), gpu_slice=part)

    def hosts(self) -> Sequence[str]:
        try:
            listed = self._api.list(Node, "/api/v1/nodes").items
        except Refused as refused:
            if refused.is_forbidden:
                return ()
            raise
        return sorted(node.name for node in listed if nodes.fits(node, self._profile))

    def run_dir(self, run: str) -> str:
        return f"/shared/runs/{run}"

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        self._watch.wake()
        return objects.submit(self._api, submission, bundle, cluster=self._name)

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._watch.wake()
        objects.mark_cancelled(self._api, submission)
        self._asked.add(key_of(submission))
        pods = pods_of_attempt(self._api, submission.run_id, submission.attempt)
        self._logs_of(submission.run).keep_all(pods)
        resource = resource_of(submission.handle)
        served = (one for one in JOB_RESOURCES.values() if self._discovery.serves(one))
        for one in [resource] if resource is not None else served:
            objects.delete_job(self._api, submission, one)
        if now:
            objects.end_pods(self._api, pods, force=self._profile.force_delete)

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        if not questions:
            return {}
        submissions = [question.submission for question in questions]
        self._watch.begin()
        found = take(self._api, submissions, self._profile)
        self._watch.watch_from(found.version)
        read = self._turns(submissions, found)
        seen = observation.each(questions, lambda one: self._observe(one, found, read=one.submission.run in read))
        self._forget_others(submissions)
        self._pace = self._pace_after(seen)
        return seen

    def _turns(self, submissions: Sequence[Submission], found: Snapshot) -> set[str]:
        """The runs whose log is read in this poll, the longest unread first: a bound for thousands of runs."""
        unread = {one.run: self._logs_of(one.run).unread(one.attempt, found.pods_of(one)) for one in submissions}
        due = [run for run, seconds in unread.items() if seconds]
        return set(sorted(due, key=lambda run: unread[run], reverse=True)[:READS])

    def _pace_after(self, seen: Mapping[str, Observation]) -> float:
        phases = {run: (one.phase, one.because) for run, one in seen.items()}
        before, self._phases = self._phases, phases
        waits_or_trains = all(
            not one.partial and (one.phase is Phase.QUEUED or (one.phase is Phase.RUNNING and not one.because))
            for one in seen.values()
        )
        followed = any(logs.is_followed for logs in self._logs.values())
        return CALM if waits_or_trains and phases == before and not followed else BUSY

    def _forget_others(self, submissions: Sequence[Submission]) -> None:
        """Drop the caches of runs that are not observed any more: a controller lives for months."""
        keys = {key_of(submission) for submission in submissions}
        self._attempts = {key: seen for key, seen in self._attempts.items() if key in keys}
        self._asked &= keys
        runs = {submission.run for submission in submissions}
        self._reports = {run: report for run, report in self._reports.items() if run in runs}
        self._logs = {run: logs for run, logs in self._logs.items() if run in runs}

    def _observe(self, question: Question, found: Snapshot, *, read: bool) -> Observation:
        submission = question.submission
        found.check(submission)
        pods = found.pods_of(submission)
        attempt = self._attempts.setdefault(key_of(submission), _Attempt())
        attempt.see(pods, submission.attempt)
        logs = self._logs_of(submission.run)
        logs.keep(pods, self._watch.wake, read=read)
        log = logs.store.fold()
        report = reading.newer(log.report, self._reports.get(submission.run))
        for last in attempt.last_records.values():
            report = reading.newer(report, last.report)
        if report is not None:
            self._reports[submission.run] = report
        state = reading.observe(
            submission,
            reading.AttemptView(
                status=found.status_of(submission),
                pods=pods,
                asked=self._is_asked(submission, found),
                report=report,
                last_records=_current(attempt.last_records, pods),
                trouble=found.trouble_of(submission),
                kueue=found.kueue_of(submission),
                started=attempt.started,
                lost=sorted(attempt.lost),
                unstartable=attempt.cannot_start(report, submission.attempt),
                patience=self._profile.stuck_after,
            ),
        )
        newer = sorted(n for n in log.generations if question.after is not None and n > question.after)
        return dataclasses.replace(
            state,
            generations=tuple(log.generations[number] for number in newer),
            metrics=_metrics(log, question.mark) if question.metrics else None,
        )

    def _is_asked(self, submission: Submission, found: Snapshot) -> bool:
        """Whether orch has ended this attempt: a label on its files says so after its object is gone."""
        key = key_of(submission)
        if key in found.asked:
            self._asked.add(key)
        return key in self._asked or submission.handle == objects.CANCELLED

    def read(self, operations: Sequence[Operation[T]], *, seconds: float = SECONDS) -> list[T]:
        return [self._read(operation) for operation in operations]

    def _read(self, operation: Operation[Any]) -> Any:
        if isinstance(operation, ReadLogs):
            return self._read_logs(operation)
        if isinstance(operation, RemoveRun):
            return self._remove(operation)
        if not isinstance(operation, ListCheckpoints):
            raise TypeError(f"{type(operation).__name__} is not for pods' claims")
        if not operation.verify:
            return CheckpointList(operation.root, self._logs_of(operation.run).store.fold().checkpoints)
        raise ClusterError(
            f"the checkpoints of {operation.run} are on its claim, which only pods see",
            hint="run `orch checkpoints DIR --verify` in a pod that mounts the claim",
        )

    def _remove(self, request: RemoveRun) -> Removed:
        """Delete every object of a run but its claim, on which its files are: orch has no right to delete claims."""
        claim, gang = self._profile.claim or f"orch-{request.run}", self._profile.gang
        if request.checkpoints:
            return Removed(f"the checkpoints of {request.run} are on the claim {claim}, which orch never deletes")
        if request.dry:
            return Removed()
        api, namespace = self._api, self._api.namespace
        jobs = [one.path(namespace) for one in JOB_RESOURCES.values() if self._discovery.serves(one)]
        groups = [] if gang is None else ["/apis/{}/{}/namespaces/{}/podgroups".format(*GANGS[gang], namespace)]
        objects.delete_all(api, request.run_id, [*jobs, api.core("configmaps")], of_same_name=groups)
        return Removed(left=f"{request.dir} and {request.checkpoint_dir} on the claim {claim}")

    def _read_logs(self, request: ReadLogs) -> LogTexts:
        """The stored logs of an attempt, after adding what its live pods have logged since or stream now."""
        logs, attempt = self._logs_of(request.run), request.attempt

        def list_pods() -> Sequence[Pod]:
            return pods_of_attempt(self._api, request.run_id, attempt)

        try:
            if request.follow:
                logs.follow(attempt, list_pods)
            else:
                logs.keep_all(list_pods())
        except ClusterError:
            if not logs.store.files(attempt):
                raise
        return self._reader.logs(logs.store, request)

    def _logs_of(self, run: str) -> PodLogs:
        if run not in self._logs:
            self._logs[run] = PodLogs(self._api, self._home / "runs" / run, self._clock)
        return self._logs[run]


def _metrics(log: RecordLog, after: Mark | None) -> Metrics | None:
    """Lines after a mark, which counts the changes of what was read before and the lines."""
    lines = log.lines()
    mark = Mark(generation=log.changes, offset=len(lines))
    if not lines or mark == after:
        return None
    if after is not None and after.generation == log.changes:
        return Metrics(mark=mark, lines=tuple(lines[after.offset :]), whole=False)
    return Metrics(mark=mark, lines=tuple(lines), whole=True)


def _current(last_records: Mapping[int, LastRecord], pods: Iterable[Pod]) -> dict[int, LastRecord]:
    """The last records, except of nodes whose newest pod is alive: these have started again."""
    again = {number for number, pod in newest_of(pods).items() if pod.alive and pod.last_record is None}
    return {number: record for number, record in last_records.items() if number not in again}
