"""How far logs of pods are read, and when: at a slow pace, when a pod has ended, and streamed while one is leaving."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator import records
from orchestrator.backends.kubernetes.api import Api, Query, Refused
from orchestrator.backends.kubernetes.kept import Kept
from orchestrator.backends.kubernetes.pods import Pod, newest_of
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.paths import WATCHED

PACE = 15.0  # seconds between two reads of the log of a run that trains and that nobody looks at
SOON = 2.0
LOOKED_AT = 15.0  # seconds for which a person who looked counts as looking
BYTES = 1024 * 1024  # of one read
LAST_BYTES = 8 * BYTES  # of a log that is read once more before its pod goes
STREAM_SECONDS = 240  # without a line, after which a stream is given up


class PodLogs:
    """The logs of one run's pods: what is kept of them, and how far this process has come."""

    def __init__(self, api: Api, run_dir: Path, clock: Callable[[], float]) -> None:
        self.kept = Kept(run_dir)
        self._api = api
        self._run_dir = run_dir
        self._clock = clock
        self._read_at: float | None = None
        self._finished: set[str] = set()  # uids of pods whose whole log is kept
        self._streamed: set[str] = set()

    def keep(self, attempt: int, pods: Sequence[Pod], ring: Callable[[], None]) -> None:
        """Node 0's log at its pace; all of them when their pods have ended. `ring`: called when a stream has ended."""
        head, now = newest_of(pods).get(0), self._clock()
        due = self._read_at is None or now - self._read_at >= self._pace(attempt)
        if head is not None and head.running and due:
            self._read_at = now
            self._read_on(head, BYTES)
        for pod in pods:
            if pod.running and pod.leaving and not pod.lost:
                self._stream(pod, ring)
            elif pod.logged and not pod.running:
                self.keep_all([pod])

    def keep_all(self, pods: Sequence[Pod]) -> None:
        """What is new in the logs of pods, before they go."""
        for pod in pods:
            if pod.logged and pod.uid not in self._finished and self._read_on(pod, LAST_BYTES) and not pod.running:
                self._finished.add(pod.uid)

    def _pace(self, attempt: int) -> float:
        report = self.kept.told.report or {}
        if report.get("attempt") != attempt or report.get("state") not in records.STEPPING:
            return SOON
        try:
            looked = time.time() - (self._run_dir / WATCHED).stat().st_mtime
        except OSError:
            return PACE
        return SOON if looked < LOOKED_AT else PACE

    def _read_on(self, pod: Pod, most: int) -> bool:
        """Read on in a pod's log; False when it cannot be had now: its node is away, or it has just gone."""
        left = most
        while left > 0:
            limit = ("limitBytes", str(left))
            try:
                content = self._api.log(self._path(pod), (*_query(pod, self.kept.last(pod)), limit))
            except (Refused, Unreachable):
                return False
            cut = len(content) >= left
            whole = content[: content.rfind(b"\n") + 1] if cut else content
            left -= len(content)
            if not self.kept.add(pod, whole.splitlines()) or not cut:
                return True
        return True

    def _stream(self, pod: Pod, ring: Callable[[], None]) -> None:
        """What a pod says on its way out: the pod may be gone before the next look."""
        if pod.uid in self._streamed:
            return
        self._streamed.add(pod.uid)
        query = (*_query(pod, self.kept.last(pod)), ("follow", "true"))

        def run() -> None:
            try:
                for line in self._api.lines(self._path(pod), query, seconds=STREAM_SECONDS):
                    self.kept.add(pod, [line])
            except (ClusterError, OSError):
                return
            finally:
                ring()

        threading.Thread(target=run, name=f"log of {pod.name}", daemon=True).start()

    def _path(self, pod: Pod) -> str:
        return self._api.core("pods", f"{pod.name}/log")


def _query(pod: Pod, last: bytes) -> Query:
    since = (("sinceTime", f"{last[:19].decode()}Z"),) if last else ()
    return (("container", pod.container), ("timestamps", "true"), *since)
