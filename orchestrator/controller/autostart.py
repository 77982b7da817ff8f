"""A controller in the background: whether one is alive, starting it, stopping it. Loads nothing that a tick needs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.job.system import detached, lock, proc
from orchestrator.store import LeaseRow, Store
from orchestrator.system import processes
from orchestrator.system.paths import CONTROLLER_LOCK

KEEP_SECONDS = 5.0  # between two checks that a controller is alive, while a run is being followed
LEAVING_SECONDS = 30.0
LOG = "controller.log"
# What the commands and clients of schedulers need of the environment in which the controller was started, beyond what
# processes of the job may have: where the cluster is, the agent that holds the keys, Kerberos tickets.
REACHES = (
    "SLURM_CONF", "SSH_AUTH_SOCK", "KRB5CCNAME", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
    # What the credential plug-ins of a kubeconfig read.
    "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CLOUDSDK_CONFIG", "CLOUDSDK_CORE_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CONFIG_DIR",
    "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE",
)  # fmt: skip


def is_alive(store: Store) -> bool:
    """Whether a controller of this machine serves the store and will see all that is recorded from now on."""
    # The order matters: a controller gives up its lease in the same transaction in which it sees that no run is left.
    return store.lease().holder is not None and _is_locked(store)


def _is_locked(store: Store) -> bool:
    path = store.home / CONTROLLER_LOCK
    try:
        return lock.is_held(path)
    except OSError as error:
        raise no_locks(path, error) from error


def no_locks(path: Path, error: OSError) -> StoreError:
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
    inherited = processes.kept(environment, (*store.secret_variables(), *REACHES))
    try:
        detached.start(
            [sys.executable, "-P", "-m", "orchestrator.controller.process", "controller", str(home)],
            environment={**inherited, "ORCH_HOME": str(home), "PYTHONPATH": processes.module_path()},
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
        if not _is_locked(store) and is_of_this_machine(store.lease()):
            return True  # it was killed: its lock is gone and its lease is still in the store
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def keep_controller(store: Store, *, wanted: bool) -> None:
    """Start a controller unless one is alive. `wanted`: by the configuration. Raises StoreError."""
    if wanted:
        ensure(store, os.environ)


def keeper(store: Store, *, wanted: bool) -> Callable[[], None]:
    """A function to call often: now and then it checks that a controller is alive, and starts one."""
    due = 0.0

    def keep() -> None:
        nonlocal due
        if wanted and time.monotonic() >= due:
            ensure(store, os.environ)
            due = time.monotonic() + KEEP_SECONDS

    return keep


def is_of_this_machine(row: LeaseRow) -> bool:
    return row.holder is not None and row.holder.startswith(f"{boot()}/")


def boot() -> str:
    return proc.boot_id() or os.uname().nodename
