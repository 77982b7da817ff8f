"""The controller as a process: one per store, in the background, leaving by itself when nothing is left to do.

    python -m orchestrator.controller.process controller HOME

Two things show that a controller lives: a file lock in $ORCH_HOME, which this machine's processes see at once, and the
lease in the store, whose counter any machine that shares the home can watch.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.clusters import PROFILES, Backend, open_backend
from orchestrator.controller.autostart import LEAVING_SECONDS, LOG, boot, is_of_this_machine, no_locks
from orchestrator.controller.tick import TickCache, TickContext, tick
from orchestrator.errors import OrchError, StoreError
from orchestrator.job.system import lock
from orchestrator.model.cluster import BadNodes
from orchestrator.policy.rules import LIMITS, Limits
from orchestrator.store import Lease, LeaseLostError, Store, open_store
from orchestrator.store.lease import STANDING_STILL
from orchestrator.system import logs
from orchestrator.system.paths import CONTROLLER_LOCK, config_path

logger = logging.getLogger("orchestrator.controller.process")  # not __name__: in the background that is __main__
INTERVAL = 0.5
IDLE_SECONDS = 5.0
ASKING_SECONDS = 0.5


def once(store: Store, environment: Mapping[str, str], *, limits: Limits = LIMITS) -> bool:
    """Look after every run once; False when another controller is alive, which does that."""
    return _serve(store, environment, limits, lambda _: False)


def serve(
    store: Store, environment: Mapping[str, str], *, idle_seconds: float | None = IDLE_SECONDS, limits: Limits = LIMITS
) -> bool:
    """Look after every run until asked to leave (SIGTERM, SIGINT, `orch controller --stop`) or idle for so long.

    `idle_seconds` None: stay. False at once when another controller is alive.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    since = time.monotonic()

    def go_on(unfinished: int) -> bool:
        nonlocal since
        if unfinished:
            since = time.monotonic()
        if asked:
            return False
        if idle_seconds is not None and time.monotonic() - since > idle_seconds:
            return False
        time.sleep(INTERVAL)
        return not asked

    return _serve(store, environment, limits, go_on)


def _serve(store: Store, environment: Mapping[str, str], limits: Limits, go_on: Callable[[int], bool]) -> bool:
    descriptor = _lock(store)
    if descriptor is None:
        return False
    try:
        lease = take_lease(store)
        if lease is None:
            return False
        store.note("controller_started", {"holder": lease.holder, "term": lease.term}, lease=lease)
        logger.info("the controller %s looks after the runs in %s", lease.holder, store.home)
        context = TickContext(
            store=store,
            backend=_backends(store.home, environment),
            environment=environment,
            lease=lease,
            cache=TickCache(),
            limits=limits,
            bad_nodes=_bad_nodes(environment),
        )
        _loop(context, go_on)
    finally:
        os.close(descriptor)
    return True


def _loop(context: TickContext, go_on: Callable[[int], bool]) -> None:
    store, lease = context.store, context.lease
    try:
        while True:
            left = _tick(context)
            asked = store.renew_lease(lease).leave
            leaving = asked or not go_on(left)
            # A run that was submitted a moment ago keeps an idle controller here.
            if leaving and store.release_lease(lease, unless_unfinished=not asked and left == 0):
                return
    except LeaseLostError as error:
        logger.warning("%s", error)


def _tick(context: TickContext) -> int:
    try:
        return tick(context)
    except LeaseLostError:
        raise
    except StoreError as error:  # a full disk, a lock held too long: the next tick tries again
        logger.warning("%s", error)
        return 1


def _lock(store: Store) -> int | None:
    """The machine's lock, waiting a moment for a controller that is just leaving."""
    began = time.monotonic()
    path = store.home / CONTROLLER_LOCK
    try:
        while (descriptor := lock.acquire(path)) is None:
            waited = time.monotonic() - began
            # A check of the lock holds it for an instant, so that one failure does not prove another controller.
            if waited > LEAVING_SECONDS or (waited > ASKING_SECONDS and store.lease().holder is not None):
                return None
            time.sleep(0.1)
    except OSError as error:
        raise no_locks(path, error) from error
    return descriptor


def holder() -> str:
    """Names this process: the boot of its kernel, its machine, its number."""
    return f"{boot()}/{os.uname().nodename}/{os.getpid()}"


def take_lease(store: Store, *, standing_still: float = STANDING_STILL) -> Lease | None:
    """Become the store's controller; None when another one's counter moves. The caller holds this machine's lock."""
    seen = store.lease()
    since = time.monotonic()
    while seen.holder is not None and not is_of_this_machine(seen):
        if time.monotonic() - since > standing_still:
            break
        time.sleep(0.2)
        row = store.lease()
        if row.holder is not None and row != seen:
            return None
        seen = row
    return store.take_lease(holder(), seen)


def _backends(home: Path, environment: Mapping[str, str]) -> Callable[[str], Backend]:
    """Backends by cluster name; the configuration is read again when its file changes."""
    known: dict[str, Backend] = {}
    read_at: list[float | None] = []

    def backend(name: str) -> Backend:
        path = Path(config_path(environment))
        changed = path.stat().st_mtime if path.exists() else None
        if read_at != [changed]:
            known.clear()
            read_at[:] = [changed]
        if name not in known:
            # Reading YAML is needed once; a controller with nothing to do never does it.
            from orchestrator.config import configfile

            known[name] = open_backend(*configfile.cluster(configfile.load(path, PROFILES), name), home)
        return known[name]

    return backend


def _bad_nodes(environment: Mapping[str, str]) -> Callable[[], BadNodes]:
    """When nodes are left out, by the configuration; read when an attempt is followed by another, which is seldom."""

    def bad_nodes() -> BadNodes:
        from orchestrator.config import configfile

        return configfile.load(config_path(environment), PROFILES).nodes

    return bad_nodes


def main(home: str) -> int:
    """Serve one store until nothing is left to do; the process that `ensure` starts."""
    logs.to_file(Path(home, LOG), "info")
    try:
        with open_store(Path(home)) as store:
            serve(store, os.environ)
    except OrchError as error:
        logger.error("%s", error)  # noqa: TRY400 - what is wrong is not in orch
        return error.exit_code
    except Exception:
        logger.exception("a bug in orch")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[2]))
