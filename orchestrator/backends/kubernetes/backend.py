"""KubernetesBackend: the Backend protocol on a cluster that serves PyTorchJob, TrainJob or JobSet."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import faults, records
from orchestrator.backends.kubernetes import events, nodes, reading
from orchestrator.backends.kubernetes.api import Api, Listed, Refused
from orchestrator.backends.kubernetes.kept import Kept, Reader
from orchestrator.backends.kubernetes.kinds import KINDS, Kind, Standing, handle_of, is_among, kind_of, taken, word_of
from orchestrator.backends.kubernetes.manifests import (
    ASKED,
    ATTEMPT,
    MANAGED,
    RUN,
    RUN_ID,
    Manifests,
    manifests_of,
    tombstone,
)
from orchestrator.backends.kubernetes.pods import Pod, newest_of, pods_of
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.cluster import Kind as ClusterKind
from orchestrator.model.kubernetes import JobKind
from orchestrator.model.run import Generation, Mark, Metrics, Observation, Phase, Submission
from orchestrator.paths import WATCHED
from orchestrator.reach import SECONDS, Call

CALM = 10.0  # seconds between two looks while every run trains; a change of a pod rings before
BUSY = 2.0  # while something starts, waits or ends
LOG_PACE = 15.0  # seconds between two reads of the log of a run that trains and that nobody looks at
LOG_SOON = 2.0
LOG_BYTES = 1024 * 1024  # of one read
LAST_BYTES = 8 * LOG_BYTES  # of a log that is read once more before its pod goes
WATCH_SECONDS = 240
LOOKED_AT = 15.0  # seconds for which a person who looked counts as looking
CANCELLED = "cancelled"  # the handle of an attempt that was cancelled before it was handed over
_MANY = 200  # runs, above which a selector names them no more
_WORKLOADS = ("v1beta2", "v1beta1")


@dataclass(slots=True, kw_only=True)
class _Followed:
    """What this process remembers of one run."""

    kept: Kept
    read_at: float | None = None
    words: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    attempt: int = 0
    lost: set[str] = field(default_factory=set)
    unstartable: str = ""
    finished: set[str] = field(default_factory=set)  # uids of pods whose whole log is kept
    following: set[str] = field(default_factory=set)


class KubernetesBackend:
    """Holds the connection and what was last read; forgetting it is safe."""

    kind: ClusterKind = "kubernetes"
    at_once = 4

    def __init__(
        self,
        name: str,
        profile: Profile,
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
        self._runs: dict[str, _Followed] = {}
        self._asked: set[tuple[str, int]] = set()
        self._bell = threading.Event()
        self._watching = False
        self._looked = False
        self._pace = BUSY
        self._served: set[str] = set()  # kinds that the cluster was seen to serve
        self._reader = Reader()

    @property
    def pace(self) -> float:
        """None to wait when a pod has changed since the last look."""
        return 0.0 if self._bell.is_set() else self._pace

    def ready(self) -> None:
        kind = self.job_kind()
        if kind is None:
            raise ClusterError(
                f"the cluster {self._name} serves none of TrainJob, JobSet and PyTorchJob",
                hint="install Kubeflow Trainer, JobSet or the Training Operator there",
            )
        if not self._serves(KINDS[kind]):
            raise ClusterError(
                f"the cluster {self._name} serves no {kind} ({KINDS[kind].group}/{KINDS[kind].version})",
                hint=f"install its operator, or set job_kind of {self._name} to one that is there",
            )

    def probe(self) -> Cluster:
        """What the profile says. Only which kind `auto` means is asked of the cluster, where there is a way to it."""
        try:
            kind = self.job_kind()
        except ClusterError:
            kind = None
        return dataclasses.replace(Cluster.of_profile(self._name, self._profile), job_kind=kind)

    def job_kind(self) -> JobKind | None:
        """The kind of objects that jobs become here; None where none is served. Raises ClusterError."""
        return taken(self._profile.job_kind, serves=self._serves, suits_trainjob=self._suits_trainjob)

    def hosts(self) -> Sequence[str]:
        try:
            listed = self._api.list("/api/v1/nodes").items
        except Refused as refused:
            if refused.is_forbidden:
                return ()
            raise
        return sorted(node["metadata"]["name"] for node in listed if nodes.fits(node, self._profile))

    def run_dir(self, run: str) -> str:
        return f"/shared/runs/{run}"

    # --- submit and cancel

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        made = manifests_of(bundle, submission)
        self._bell.set()
        if self._lay_down(submission, made.config_map):
            return CANCELLED
        faults.point("kubernetes.files")
        try:
            self._create_claim(made.claim)
            for document in made.others:
                self._api.apply(_path_of(document, self._api.namespace), document)
            self._apply_job(submission, made)
        except Refused as refused:
            self._forget(submission)
            raise ClusterError(
                f"Kubernetes refused attempt {submission.attempt} of {submission.run}: {refused.message}",
                hint=f"mend the profile {self._name} or the job; orch clusters check {self._name} shows what is there",
            ) from refused
        faults.point("kubernetes.job")
        self._sweep(submission, made.kind)
        return handle_of(made.kind, submission.name)

    def _lay_down(self, submission: Submission, config_map: Mapping[str, Any]) -> bool:
        """The attempt's files under its name, which are the claim to it too; whether it was cancelled already."""
        path = self._config_maps()
        try:
            self._api.create(path, config_map)
        except Refused as refused:
            if not refused.is_conflict:
                raise ClusterError(
                    f"Kubernetes refused the files of {submission.name}: {refused.message}",
                    hint=f"orch clusters check {self._name} shows what may be done there",
                ) from refused
        else:
            return False
        labels = _labels(self._api.get(f"{path}/{submission.name}", metadata_only=True))
        if labels.get(RUN_ID) != submission.run_id:
            raise ClusterError(
                f"the name {submission.name} is taken in {self._api.namespace} by {_owner(labels)}",
                hint=f"kubectl delete configmap {submission.name} when it is of no use any more, or --name NAME",
            )
        return ASKED in labels

    def _create_claim(self, claim: Mapping[str, Any] | None) -> None:
        if claim is None:
            return
        try:
            self._api.create(_path_of(claim, self._api.namespace, named=False), claim)
        except Refused as refused:
            if not refused.is_conflict:
                raise

    def _apply_job(self, submission: Submission, made: Manifests) -> None:
        path = made.kind.path(self._api.namespace, submission.name)
        try:
            document = self._api.apply(path, made.job)
        except Refused as refused:
            if not refused.is_conflict:
                raise
            document = self._api.get(
                path, metadata_only=True
            )  # somebody has changed what was made before, as Kueue does
        labels = _labels(document)
        if labels.get(RUN_ID) != submission.run_id:
            raise ClusterError(
                f"the name {submission.name} is taken in {self._api.namespace} by {_owner(labels)}",
                hint=f"kubectl delete {made.kind.plural} {submission.name} when it is of no use, or --name NAME",
            )

    def _sweep(self, submission: Submission, kind: Kind) -> None:
        """The attempt before is over and its logs are kept: what is left of it would only be in the way."""
        if submission.attempt <= 1:
            return
        older = dataclasses.replace(submission, attempt=submission.attempt - 1)
        try:
            self._api.delete(kind.path(self._api.namespace, older.name), _BACKGROUND)
            self._api.delete(f"{self._config_maps()}/{older.name}")
        except (Refused, Unreachable):
            return  # it only costs room

    def _forget(self, submission: Submission) -> None:
        """No job came of these files."""
        try:
            self._api.delete(f"{self._config_maps()}/{submission.name}")
        except ClusterError:
            return

    def cancel(self, submission: Submission, *, now: bool) -> None:
        self._bell.set()
        self._leave_word(submission)
        self._asked.add((submission.run_id, submission.attempt))
        pods = self._pods_of_attempt(submission)
        followed = self._followed(submission)
        for pod in pods:
            self._keep_last(followed, pod)
        kind = kind_of(submission.handle)
        for one in [kind] if kind is not None else [one for one in KINDS.values() if self._serves(one)]:
            self._delete_job(submission, one)
        if now:
            for pod in pods:
                seconds = 0 if pod.lost and self._profile.force_delete else 1
                self._api.delete(self._pod(pod.name), {"gracePeriodSeconds": seconds})

    def _leave_word(self, submission: Submission) -> None:
        """On the attempt's files, or in their place: from now on nothing is started under its name."""
        path = self._config_maps()
        try:
            self._api.merge(f"{path}/{submission.name}", {"metadata": {"labels": {ASKED: "yes"}}})
        except Refused as refused:
            if not refused.is_missing:
                raise
            self._api.create(path, tombstone(submission))

    def _delete_job(self, submission: Submission, kind: Kind) -> None:
        path = kind.path(self._api.namespace, submission.name)
        try:
            found = self._api.get(path, metadata_only=True)
        except Refused as refused:
            if refused.is_missing:
                return
            raise
        if _labels(found).get(RUN_ID) == submission.run_id:
            self._api.delete(path, _BACKGROUND)

    # --- observe

    def observe(self, submissions: Sequence[Submission]) -> Mapping[str, Observation]:
        if not submissions:
            return {}
        self._bell.clear()
        selector = _selector(submissions)
        jobs = self._jobs(submissions, selector)
        listed = self._api.list(self._pod(), (("labelSelector", selector),))
        self._ring_when_changed(listed)
        pods: dict[tuple[str, int], list[Pod]] = {}
        for pod in pods_of(listed.items, listed.at):
            pods.setdefault((pod.run_id, pod.attempt), []).append(pod)
        mine = {one.run: pods.get((one.run_id, one.attempt), []) for one in submissions}
        warnings = self._warnings(submissions, jobs, mine)
        queues = self._queues(submissions, jobs)
        seen = {}
        for submission in submissions:
            job, own = jobs.get((submission.run_id, submission.attempt)), mine[submission.run]
            seen[submission.run] = self._observe(submission, job, own, warnings, queues)
        calm = all(one.phase is Phase.RUNNING and not one.partial and not one.because for one in seen.values())
        self._pace = CALM if calm else BUSY
        return seen

    def _observe(
        self,
        submission: Submission,
        job: Mapping[str, Any] | None,
        pods: Sequence[Pod],
        warnings: Sequence[Mapping[str, Any]],
        queues: _Queues,
    ) -> Observation:
        kind, followed = kind_of(submission.handle), self._followed(submission)
        word = word_of(kind, job) if kind is not None and job is not None else None
        for pod in pods:
            if pod.word is not None and pod.word.get("attempt") == submission.attempt:
                followed.words[pod.number] = pod.word
            if pod.lost and pod.node is not None:
                followed.lost.add(pod.node)
            if pod.stuck and not pod.alive:
                followed.unstartable = f"pod {pod.name}: {pod.stuck}"
            elif pod.running:
                followed.unstartable = ""
        self._keep_logs(submission, followed, pods)
        told = followed.kept.fold()
        report: Mapping[str, Any] | None = told.report
        for last in followed.words.values():
            report = reading.newer(report, last.get("report"))
        waits = word is not None and (word.standing is Standing.WAITING or not any(pod.logged for pod in pods))
        return reading.observe(
            submission,
            reading.Sight(
                word=word,
                pods=pods,
                asked=self._is_asked(submission, job),
                report=report,
                words=_current(followed.words, pods),
                trouble=events.trouble_of(submission.name, warnings) if waits else None,
                kueue=queues.words_of(job) if word is not None and word.standing is Standing.WAITING else "",
                lost=sorted(followed.lost),
                unstartable=followed.unstartable,
                patience=self._profile.stuck_after,
            ),
        )

    def _jobs(self, submissions: Sequence[Submission], selector: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The job objects by run and attempt: one list for each kind that is in use."""
        kinds = {kind.word: kind for one in submissions if (kind := kind_of(one.handle)) is not None}
        found = {}
        for kind in kinds.values():
            try:
                listed = self._api.list(kind.path(self._api.namespace), (("labelSelector", selector),))
            except Refused as refused:
                raise Unreachable(f"{self._name} does not list its {kind.plural}: {refused.message}") from refused
            for document in listed.items:
                labels = _labels(document)
                if str(labels.get(ATTEMPT, "")).isdigit():
                    found[str(labels.get(RUN_ID)), int(labels[ATTEMPT])] = document
        return found

    def _warnings(
        self,
        submissions: Sequence[Submission],
        jobs: Mapping[tuple[str, int], Any],
        pods: Mapping[str, Sequence[Pod]],
    ) -> Sequence[Mapping[str, Any]]:
        """Events, where an attempt has an object and no pod of it has run: only they say why."""
        silent = [
            one
            for one in submissions
            if (one.run_id, one.attempt) in jobs and not any(pod.logged for pod in pods[one.run])
        ]
        if not silent:
            return ()
        try:
            return self._api.list(self._core("events"), (("fieldSelector", "type=Warning"),)).items
        except Refused:
            return ()  # told by `orch clusters check`

    def _queues(self, submissions: Sequence[Submission], jobs: Mapping[tuple[str, int], Any]) -> _Queues:
        queue = self._profile.queue
        waiting = [
            one
            for one in submissions
            if (kind := kind_of(one.handle)) is not None
            and (job := jobs.get((one.run_id, one.attempt))) is not None
            and word_of(kind, job).standing is Standing.WAITING
        ]
        if queue is None or not waiting:
            return _Queues()
        for version in _WORKLOADS:
            base = f"/apis/kueue.x-k8s.io/{version}/namespaces/{self._api.namespace}/workloads"
            try:
                workloads = self._api.list(base).items
            except Refused as refused:
                if refused.is_missing:
                    continue
                return _Queues(words=f"Kueue's workloads cannot be listed: {refused.message}")
            return _Queues(workloads=workloads, positions=self._positions(queue))
        return _Queues(words="it is suspended, and this cluster serves no workloads of Kueue's")

    def _positions(self, queue: str) -> Mapping[str, int]:
        """Places in the local queue by the workload's name, where Kueue serves them."""
        for version in _WORKLOADS:
            group = f"/apis/visibility.kueue.x-k8s.io/{version}"
            try:
                found = self._api.get(f"{group}/namespaces/{self._api.namespace}/localqueues/{queue}/pendingworkloads")
            except (Refused, Unreachable):
                continue
            return {
                item["metadata"]["name"]: int(item["positionInLocalQueue"])
                for item in found.get("items") or ()
                if "positionInLocalQueue" in item
            }
        return {}

    def _is_asked(self, submission: Submission, job: Mapping[str, Any] | None) -> bool:
        """Whether orch has ended this attempt: where its object is gone, the files that stay behind say so."""
        key = (submission.run_id, submission.attempt)
        if key in self._asked or submission.handle == CANCELLED:
            return True
        if job is not None:
            return False
        try:
            found = self._api.get(f"{self._config_maps()}/{submission.name}", metadata_only=True)
        except Refused:
            return False
        labels = _labels(found)
        if ASKED in labels and labels.get(RUN_ID) == submission.run_id:
            self._asked.add(key)
        return key in self._asked

    # --- logs

    def _followed(self, submission: Submission) -> _Followed:
        followed = self._runs.get(submission.run)
        if followed is None:
            followed = self._runs[submission.run] = _Followed(kept=self._kept(submission.run))
        if followed.attempt != submission.attempt:
            followed.attempt = submission.attempt
            followed.words, followed.lost, followed.unstartable, followed.read_at = {}, set(), "", None
        return followed

    def _kept(self, run: str) -> Kept:
        return Kept(self._home / "runs" / run)

    def _keep_logs(self, submission: Submission, followed: _Followed, pods: Sequence[Pod]) -> None:
        """Node 0's log at its pace; all of them when their pods have ended; streamed while a pod is leaving."""
        head = newest_of(pods).get(0)
        now = self._clock()
        due = followed.read_at is None or now - followed.read_at >= self._log_pace(submission, followed)
        if head is not None and head.running and due:
            followed.read_at = now
            self._keep(followed, head, LOG_BYTES)
        for pod in pods:
            if pod.running and pod.leaving and not pod.lost:
                self._follow(followed, pod)
            elif pod.logged and not pod.running:
                self._keep_last(followed, pod)

    def _log_pace(self, submission: Submission, followed: _Followed) -> float:
        state = (followed.kept.told.report or {}).get("state")
        if state not in records.STEPPING or (followed.kept.told.report or {}).get("attempt") != submission.attempt:
            return LOG_SOON
        try:
            looked = time.time() - (self._home / "runs" / submission.run / WATCHED).stat().st_mtime
        except OSError:
            return LOG_PACE
        return LOG_SOON if looked < LOOKED_AT else LOG_PACE

    def _keep_last(self, followed: _Followed, pod: Pod) -> None:
        if not pod.logged or pod.uid in followed.finished:
            return
        if self._keep(followed, pod, LAST_BYTES) and not pod.running:
            followed.finished.add(pod.uid)

    def _keep(self, followed: _Followed, pod: Pod, most: int) -> bool:
        """Read on in a pod's log; False when it cannot be had now: its node is away, or it has just gone."""
        left = most
        while left > 0:
            try:
                content = self._api.log(self._pod(f"{pod.name}/log"), _log_query(pod, followed.kept.last(pod), left))
            except (Refused, Unreachable):
                return False
            cut = len(content) >= left
            whole = content[: content.rfind(b"\n") + 1] if cut else content
            left -= len(content)
            if not followed.kept.add(pod, whole.splitlines()) or not cut:
                return True
        return True

    def _follow(self, followed: _Followed, pod: Pod) -> None:
        """What a pod says on its way out: the pod may be gone before the next look."""
        if pod.uid in followed.following:
            return
        followed.following.add(pod.uid)
        query = (*_log_query(pod, followed.kept.last(pod), None), ("follow", "true"))

        def run() -> None:
            try:
                for line in self._api.lines(self._pod(f"{pod.name}/log"), query, seconds=WATCH_SECONDS):
                    followed.kept.add(pod, [line])
            except (ClusterError, OSError):
                return
            finally:
                self._bell.set()

        threading.Thread(target=run, name=f"log of {pod.name}", daemon=True).start()

    def _ring_when_changed(self, listed: Listed) -> None:
        """A watch that makes the next look come sooner. Whatever becomes of it, the looks go on."""
        if not self._looked:
            self._looked = True  # who looks once and goes needs none
            return
        if self._watching:
            return
        self._watching = True
        selector = ("labelSelector", "=".join(MANAGED))
        query = (
            ("watch", "true"), selector, ("resourceVersion", listed.version), ("timeoutSeconds", str(WATCH_SECONDS))
        )  # fmt: skip

        def run() -> None:
            try:
                for _ in self._api.lines(self._pod(), query, seconds=2 * WATCH_SECONDS):
                    self._bell.set()
            except (ClusterError, OSError):
                time.sleep(CALM)
            finally:
                self._watching = False

        threading.Thread(target=run, name=f"watch of {self._name}", daemon=True).start()

    # --- what was told

    def generations(self, submission: Submission, after: int) -> Sequence[Generation]:
        told = self._followed(submission).kept.fold()
        return records.generations_of(
            [told.generations[number] for number in sorted(told.generations) if number > after]
        )

    def metrics(self, submission: Submission, after: Mark | None) -> Metrics | None:
        told = self._followed(submission).kept.fold()
        lines = told.lines()
        mark = Mark(generation=told.changes, offset=len(lines))
        if not lines or mark == after:
            return None
        if after is not None and after.generation == told.changes:
            return Metrics(mark=mark, lines=tuple(lines[after.offset :]), whole=False)
        return Metrics(mark=mark, lines=tuple(lines), whole=True)

    def read(self, *calls: Call, seconds: float = SECONDS) -> list[Any]:
        return [self._read(operation, request) for operation, request in calls]

    def _read(self, operation: str, request: Mapping[str, Any]) -> Any:
        if operation == "logs":
            return self._read_logs(request)
        if operation == "checkpoints" and not request["verify"]:
            kept = self._kept(request["run"])
            return {"base": request["root"], "listed": kept.fold().checkpoints}
        raise ClusterError(
            f"the checkpoints of {request.get('run')} are on its claim, which only pods see",
            hint="run `orch checkpoints DIR --verify` in a pod that mounts the claim",
        )

    def _read_logs(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The kept logs of an attempt, with what its living pods have said since."""
        run = request["run"]
        followed = self._runs.setdefault(run, _Followed(kept=self._kept(run)))
        selector = f"{RUN_ID}={request['run_id']},{ATTEMPT}={request['attempt']}"
        try:
            listed = self._api.list(self._pod(), (("labelSelector", selector),))
            for pod in pods_of(listed.items, listed.at):
                if pod.logged:
                    self._keep(followed, pod, LAST_BYTES)
        except ClusterError:
            if not followed.kept.files(request["attempt"]):
                raise
        return self._reader.logs(followed.kept, request)

    # --- paths

    def _core(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self._api.namespace}/{plural}"

    def _config_maps(self) -> str:
        return self._core("configmaps")

    def _pod(self, name: str = "") -> str:
        return f"{self._core('pods')}/{name}" if name else self._core("pods")

    def _pods_of_attempt(self, submission: Submission) -> list[Pod]:
        selector = f"{RUN_ID}={submission.run_id},{ATTEMPT}={submission.attempt}"
        listed = self._api.list(self._pod(), (("labelSelector", selector),))
        return pods_of(listed.items, listed.at)

    def _serves(self, kind: Kind) -> bool:
        if kind.word not in self._served:
            try:
                found = self._api.get(f"/apis/{kind.group}/{kind.version}")
            except Refused as refused:
                if not refused.is_missing:
                    raise
                found = {}
            if not is_among(kind, found):
                return False
            self._served.add(kind.word)
        return True

    def _suits_trainjob(self) -> bool:
        """Whether the runtime of TrainJobs is there and does its part, and nothing of the profile is lost."""
        from orchestrator.backends.kubernetes import runtimes  # templates' modules, for which only `auto` has a use
        from orchestrator.rendering.kubernetes import lost

        if lost(self._profile, "trainjob"):
            return False
        try:
            found = self._api.get(runtimes.path_of(self._profile.runtime, self._api.namespace))
        except Refused:
            return False
        return not runtimes.misfits(found, self._profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queues:
    """What Kueue says: its workloads and their places, or `words` about why it says nothing."""

    workloads: Sequence[Mapping[str, Any]] = ()
    positions: Mapping[str, int] = field(default_factory=dict)
    words: str = ""

    def words_of(self, job: Mapping[str, Any] | None) -> str:
        if self.words or job is None or not self.workloads:
            return self.words
        return events.kueue_of(str(job["metadata"].get("uid")), self.workloads, self.positions)


_BACKGROUND = {"propagationPolicy": "Background"}


def _current(words: Mapping[int, Mapping[str, Any]], pods: Iterable[Pod]) -> dict[int, Mapping[str, Any]]:
    """Last words, but for those of a node whose newest pod lives: it has begun again."""
    again = {number for number, pod in newest_of(pods).items() if pod.alive and pod.word is None}
    return {number: word for number, word in words.items() if number not in again}


def _selector(submissions: Sequence[Submission]) -> str:
    managed = "=".join(MANAGED)
    if len(submissions) > _MANY:
        return managed
    runs = ",".join(sorted({submission.run_id for submission in submissions}))
    return f"{managed},{RUN_ID} in ({runs})"


def _labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = (document.get("metadata") or {}).get("labels") or {}
    return found


def _owner(labels: Mapping[str, str]) -> str:
    if RUN_ID in labels:
        return f"another run of that name, with the id {labels[RUN_ID]} ({labels.get(RUN)})"
    return "something that is not orch's"


def _path_of(document: Mapping[str, Any], namespace: str, *, named: bool = True) -> str:
    """Of an object that a bundle holds beside its job."""
    kind, version = str(document["kind"]), str(document["apiVersion"])
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    path = f"{base}/namespaces/{namespace}/{kind.lower()}s"
    return f"{path}/{document['metadata']['name']}" if named else path


def _log_query(pod: Pod, last: bytes, most: int | None) -> tuple[tuple[str, str], ...]:
    since = (("sinceTime", f"{last[:19].decode()}Z"),) if last else ()
    limit = (("limitBytes", str(most)),) if most is not None else ()
    return (("container", pod.container), ("timestamps", "true"), *since, *limit)
