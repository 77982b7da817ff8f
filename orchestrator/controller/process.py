"""The controller as a process: one per store, in the background, leaving by itself when nothing is left to do.

    python -m orchestrator.controller.process controller HOME

Two things tell that a controller lives: a file lock in $ORCH_HOME, which this machine's processes see at once, and the
lease in the store, whose counter any machine that shares the home can watch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clusters import PROFILES, Backend, open_backend
from orchestrator.errors import OrchError, StoreError
from orchestrator.job.system import lock, proc
from orchestrator.model.cluster import BadNodes
from orchestrator.store import Lease, LeaseLostError, LeaseRow, Store, open_store
from orchestrator.store.lease import STANDING_STILL
from orchestrator.system import processes
from orchestrator.system.paths import CONTROLLER_LOCK, config_path

if TYPE_CHECKING:  # whoever only starts a controller need not load one
    from orchestrator.controller.tick import TickContext
    from orchestrator.policy.rules import Limits

INTERVAL = 0.5
IDLE_SECONDS = 5.0
LEAVING_SECONDS = 30.0
ASKING_SECONDS = 0.5
LOG = "controller.log"
# What the commands and clients of schedulers need of the environment in which the controller was started, beyond what
# processes of the job may have: where the cluster is, the agent that holds the keys, Kerberos tickets.
REACHES = (
    "SLURM_CONF",
    "SSH_AUTH_SOCK",
    "KRB5CCNAME",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    # What the credential plug-ins of a kubeconfig read.
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_PROJECT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_CONFIG_DIR",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
)


def is_alive(store: Store) -> bool:
    """Whether a controller of this machine looks after the store and will see whatever is recorded from now on."""
    # The order matters: a controller gives up its lease in the same transaction in which it sees that no run is left.
    return store.lease().holder is not None and _is_locked(store)


def _is_locked(store: Store) -> bool:
    path = store.home / CONTROLLER_LOCK
    try:
        return lock.is_held(path)
    except OSError as error:
        raise _no_locks(path, error) from error


def _no_locks(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"the controller's lock {path} cannot be used: {error.strerror}",
        hint="set ORCH_HOME to a directory whose file system has locks: a local disk, or NFS with its lock service",
    )


def ensure(store: Store, environment: Mapping[str, str]) -> bool:
    """Start a controller in the background unless one is alive on this machine; whether one was started.

    On another machine of the same home one may be alive too: the new one finds out and leaves. Raises StoreError.
    """
    if is_alive(store):
        return False
    home = store.home.resolve()
    kept = processes.kept(environment, (*store.secret_variables(), *REACHES))
    try:
        processes.start_detached(
            [sys.executable, "-P", "-m", "orchestrator.controller.process", "controller", str(home)],
            environment={**kept, "ORCH_HOME": str(home), "PYTHONPATH": processes.module_path()},
            directory="/",
            output=home / LOG,
        )
    except OSError as error:
        raise StoreError(
            f"no controller could be started in the background: {error}", hint="run one yourself: orch controller"
        ) from error
    return True


def stop(store: Store, *, seconds: float = LEAVING_SECONDS) -> bool:
    """Ask the controller that is alive to leave, and wait for that; False when it did not within `seconds`.

    Runs go on without it. True as well when there was none.
    """
    store.ask_controller_to_leave()
    end = time.monotonic() + seconds
    while store.lease().holder is not None:
        if not _is_locked(store) and _is_of_this_machine(store.lease()):
            return True  # it was killed: its lock is gone and its lease is still in the store
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def once(store: Store, environment: Mapping[str, str], *, limits: Limits | None = None) -> bool:
    """Look after every run once; False when another controller is alive, which does that."""
    return _serve(store, environment, limits, lambda _: False)


def serve(
    store: Store,
    environment: Mapping[str, str],
    *,
    idle_seconds: float | None = IDLE_SECONDS,
    limits: Limits | None = None,
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


def _serve(store: Store, environment: Mapping[str, str], limits: Limits | None, go_on: Callable[[int], bool]) -> bool:
    from orchestrator.controller import tick
    from orchestrator.policy.rules import LIMITS

    descriptor = _lock(store)
    if descriptor is None:
        return False
    try:
        lease = take_lease(store)
        if lease is None:
            return False
        store.note("controller_started", {"holder": lease.holder, "term": lease.term}, lease=lease)
        context = tick.TickContext(
            store=store,
            backend=_backends(store.home, environment),
            environment=environment,
            lease=lease,
            cache=tick.TickCache(),
            limits=limits or LIMITS,
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
        _say(str(error))


def _tick(context: TickContext) -> int:
    from orchestrator.controller import tick

    try:
        return tick.tick(context)
    except LeaseLostError:
        raise
    except StoreError as error:  # a full disk, a lock held too long: the next tick tries again
        _say(str(error))
        return 1


def _lock(store: Store) -> int | None:
    """The machine's lock, waiting a moment for a controller that is just leaving."""
    began = time.monotonic()
    path = store.home / CONTROLLER_LOCK
    try:
        while (descriptor := lock.acquire(path)) is None:
            waited = time.monotonic() - began
            # Whoever asks about the lock has it for an instant, so that one look proves no other controller.
            if waited > LEAVING_SECONDS or (waited > ASKING_SECONDS and store.lease().holder is not None):
                return None
            time.sleep(0.1)
    except OSError as error:
        raise _no_locks(path, error) from error
    return descriptor


def holder() -> str:
    """Names this process: the boot of its kernel, its machine, its number."""
    return f"{_boot()}/{os.uname().nodename}/{os.getpid()}"


def take_lease(store: Store, *, standing_still: float = STANDING_STILL) -> Lease | None:
    """Become the store's controller; None when another one's counter moves. The caller holds this machine's lock."""
    seen = store.lease()
    since = time.monotonic()
    while seen.holder is not None and not _is_of_this_machine(seen):
        if time.monotonic() - since > standing_still:
            break
        time.sleep(0.2)
        row = store.lease()
        if row.holder is not None and row != seen:
            return None
        seen = row
    return store.take_lease(holder(), seen)


def _is_of_this_machine(row: LeaseRow) -> bool:
    return row.holder is not None and row.holder.startswith(f"{_boot()}/")


def _boot() -> str:
    return proc.boot_id() or os.uname().nodename


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


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(home: str) -> int:
    """Serve one store until nothing is left to do; the process that `ensure` starts."""
    try:
        with open_store(Path(home)) as store:
            serve(store, os.environ)
    except OrchError as error:
        _say(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[2]))
