"""When logs of pods are read, and how far: at a slow pace, and once more when a pod has ended.

They are streamed while a user follows the run, and from a pod that is being deleted, which may be gone before the
next poll.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from orchestrator.clusters import observation
from orchestrator.clusters.kubernetes.api import Api, Query, Refused
from orchestrator.clusters.kubernetes.logfiles import LogStore
from orchestrator.clusters.kubernetes.pods import Pod, newest_of
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.system.paths import WATCHED

PACE = 15.0  # seconds between two reads of the log of a run that trains and that no user follows
SOON = 2.0
FOLLOWED = 15.0  # seconds after a request of `orch logs -f` for which its run counts as followed
BYTES = 1024 * 1024  # of one read
LAST_BYTES = 8 * BYTES  # of a log that is read once more before its pod goes
LARGEST = 64 * BYTES
STREAM_SECONDS = 240  # without a line, after which a stream is given up
STREAMS = 100  # at once; of more pods the logs are read at a pace


class PodLogs:
    """The logs of one run's pods: the stored part, and how far this process has read."""

    def __init__(self, api: Api, run_dir: Path, clock: Callable[[], float]) -> None:
        self.store = LogStore(run_dir)
        self._api = api
        self._run_dir = run_dir
        self._clock = clock
        self._read_at: float | None = None
        self._followed_at: dict[int, float] = {}  # when the pods of an attempt were last listed
        self._finished: set[str] = set()  # uids of pods whose whole log is stored
        self._streams: dict[str, tuple[float, threading.Thread]] = {}  # by uid of a pod; since when

    @property
    def is_followed(self) -> bool:
        """Whether a user follows the run now."""
        try:
            return time.time() - (self._run_dir / WATCHED).stat().st_mtime < FOLLOWED
        except OSError:
            return False

    def unread(self, attempt: int, pods: Sequence[Pod]) -> float:
        """Seconds since node 0's log was read, where it is time to read it again; 0 where it is not."""
        head = newest_of(pods).get(0)
        if head is None or not head.running or head.lost or self.is_followed:
            return 0.0
        report = self.store.records.report
        trains = report is not None and report.attempt == attempt and report.state in observation.STEPPING
        since = inf if self._read_at is None else self._clock() - self._read_at
        return since if since >= (PACE if trains else SOON) else 0.0

    def keep(self, pods: Sequence[Pod], wake: Callable[[], None], *, read: bool) -> None:
        """Store all logs of ended pods, and node 0's before its end if `read` or a user follows the run.

        `wake`: called when a stream has ended.
        """
        head = newest_of(pods).get(0)
        if head is not None and head.running and not head.lost:
            if self.is_followed:
                self._stream(head, wake, lambda: self.is_followed)
            elif read:
                self._read_on(head, BYTES)
                self._read_at = self._clock()
        for pod in pods:
            if pod.running and pod.leaving and not pod.lost:
                self._stream(pod, wake)
            elif pod.logged and not pod.running:
                self.keep_all([pod])

    def keep_all(self, pods: Sequence[Pod]) -> None:
        """Store what is new in the logs of pods, before they are gone."""
        for pod in pods:
            if not pod.logged or pod.lost or pod.uid in self._finished:
                continue  # a dead node's kubelet does not answer
            if self._read_on(pod, LAST_BYTES) and not pod.running:
                self._finished.add(pod.uid)

    def follow(self, attempt: int, list_pods: Callable[[], Sequence[Pod]]) -> None:
        """Store what the pods of an attempt log, as they log it. Raises the errors of `list_pods`."""
        last, now = self._followed_at.get(attempt), self._clock()
        if last is not None and now - last < SOON:
            return
        self._followed_at[attempt] = now  # also if the listing fails
        self.keep_all([pod for pod in list_pods() if not (pod.running and not pod.lost and self._stream(pod))])

    def _read_on(self, pod: Pod, most: int) -> bool:
        """Read on in a pod's log, `most` bytes or a little more; whether all of it is stored now.

        It is not if its node does not answer or the pod is gone.
        """
        left = limit = most
        while left > 0:
            query = (*_query(pod, self.store.last(pod)), ("limitBytes", str(limit)))
            try:
                content = self._api.log(self._path(pod), query)
            except (Refused, Unreachable):
                return False
            if len(content) < limit:
                self.store.add(pod, content.split(b"\n"))
                return True
            if self.store.add(pod, content[: content.rfind(b"\n") + 1].split(b"\n")):
                left -= len(content)
            elif limit < LARGEST:
                limit *= 4  # sinceTime is in whole seconds: the lines of one are longer than `limit`
            else:
                return False
        return False

    def _stream(
        self, pod: Pod, wake: Callable[[], None] = lambda: None, wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Store what a pod logs from now on, until it ends or is no longer `wanted`; False if too many streams run."""
        began, thread = self._streams.get(pod.uid, (None, None))
        if (thread and thread.is_alive()) or (began is not None and self._clock() - began < SOON):
            return True
        if sum(one.is_alive() for _, one in self._streams.values()) >= STREAMS:
            return False

        def run() -> None:
            try:
                self._read_on(pod, LAST_BYTES)
                query = (*_query(pod, self.store.last(pod)), ("follow", "true"))
                for lines in self._api.lines(self._path(pod), query, seconds=STREAM_SECONDS):
                    self.store.add(pod, lines)
                    if not wanted():
                        break
            except (ClusterError, OSError):
                return
            finally:
                wake()

        thread = threading.Thread(target=run, name=f"log of {pod.name}", daemon=True)
        self._streams[pod.uid] = (self._clock(), thread)
        thread.start()
        return True

    def _path(self, pod: Pod) -> str:
        return self._api.core("pods", f"{pod.name}/log")


def _query(pod: Pod, last: bytes) -> Query:
    since = (("sinceTime", f"{last[:19].decode()}Z"),) if last else ()
    return (("container", pod.container), ("timestamps", "true"), *since)
