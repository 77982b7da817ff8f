"""A pod watch that triggers an early poll; polling goes on if the watch fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.manifests import MANAGED
from orchestrator.errors import ClusterError

SECONDS = 240  # of one watch
PAUSE = 10.0  # after one that failed
_ERROR = b'{"type":"ERROR"'  # as for a version that is too old


class PodWatch:
    """Set when a pod of orch's has changed since the last poll."""

    def __init__(self, api: Api, pause: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._pause = pause
        self._changed = threading.Event()
        self._watching = False
        self._polls = 0

    @property
    def is_set(self) -> bool:
        return self._changed.is_set()

    def wake(self) -> None:
        self._changed.set()

    def begin(self) -> None:
        """A poll begins, which sees all changes until now."""
        self._changed.clear()

    def watch_from(self, version: str) -> None:
        """Watch for changes after a list, from the second poll on: a process that polls once needs no watch."""
        self._polls += 1
        if self._watching or self._polls < 2:
            return
        self._watching = True
        threading.Thread(target=self._watch, args=(version,), name="watch of pods", daemon=True).start()

    def _watch(self, version: str) -> None:
        selector = ("labelSelector", "=".join(MANAGED))
        query = (selector, ("watch", "true"), ("resourceVersion", version), ("timeoutSeconds", str(SECONDS)))
        try:
            for lines in self._api.lines(self._api.core("pods"), query, seconds=2 * SECONDS):
                if any(line.startswith(_ERROR) for line in lines):
                    self._pause(PAUSE)
                    break
                self._changed.set()
        except (ClusterError, OSError):
            self._pause(PAUSE)
        finally:
            self._watching = False
