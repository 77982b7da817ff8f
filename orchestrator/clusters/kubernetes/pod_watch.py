"""A watch on pods that makes the next look come sooner. Whatever becomes of it, the looks go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from orchestrator.clusters.kubernetes.api import Api
from orchestrator.clusters.kubernetes.manifests import MANAGED
from orchestrator.errors import ClusterError

SECONDS = 240  # of one watch
PAUSE = 10.0  # after one that failed
_ERROR = b'{"type":"ERROR"'  # as where the version is too old: nothing has changed


class PodWatch:
    """Rung when a pod of orch's has changed since the last look."""

    def __init__(self, api: Api, pause: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._pause = pause
        self._rung = threading.Event()
        self._watching = False
        self._looks = 0

    @property
    def is_rung(self) -> bool:
        return self._rung.is_set()

    def wake(self) -> None:
        self._rung.set()

    def begin(self) -> None:
        """A look begins: what has changed until now, it sees."""
        self._rung.clear()

    def watch_from(self, version: str) -> None:
        """Ring at changes after a list. Who looks once and goes needs no watch: it begins with the second look."""
        self._looks += 1
        if self._watching or self._looks < 2:
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
                self._rung.set()
        except (ClusterError, OSError):
            self._pause(PAUSE)
        finally:
            self._watching = False
