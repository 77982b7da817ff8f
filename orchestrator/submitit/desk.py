"""What submitting and watching need of this machine: the configuration, the cluster, the store, a controller."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from orchestrator.clusters import PROFILES, Backend, open_backend
from orchestrator.config import configfile
from orchestrator.controller.autostart import KEEP_SECONDS, keep_controller
from orchestrator.errors import JobError, OrchError
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Phase
from orchestrator.model.spec import Spec
from orchestrator.runs import submit
from orchestrator.runs.prepare import prepare
from orchestrator.store import Store, open_reader, open_store
from orchestrator.system.paths import config_path, orch_home


def home() -> Path:
    """The store's directory, as this process' environment says it."""
    return orch_home(os.environ)


def profile_of(cluster: str | None) -> tuple[str, Profile]:
    """The name and profile of a cluster, the default one for None. Raises JobError."""
    return configfile.cluster(configfile.load(config_path(os.environ), PROFILES), cluster)


class Submitter:
    """Submits to one cluster, whose profile may have been changed for it. Used as a context."""

    def __init__(self, cluster: str, profile: Profile) -> None:
        self._backend: Backend = open_backend(cluster, profile, home())
        self._store: Store = open_store(home())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def submit(self, specs: Sequence[Spec]) -> None:
        """Plan, render, record and hand over, and see that a controller is alive, unless the user runs their own.

        All of them, or none is left: raises OrchError when those that were handed over have been asked to end.
        """
        prepared = (prepare(spec, self._backend, job_dir=str(Path.cwd())) for spec in specs)
        try:
            submit.submit_runs(self._store, self._backend, prepared, os.environ)
            _keep(self._store)
        except OrchError:
            self._withdraw([spec.name for spec in specs])
            raise

    def _withdraw(self, names: Sequence[str]) -> None:
        for run in map(self._store.find, names):
            if run is not None and not run.phase.ended:
                submit.cancel_run(self._store, run.name)
        _keep(self._store)


def cancel(store_home: Path, run: str) -> None:
    """Request the end of a run that has not ended. Raises JobError if there is no such run."""
    with open_store(store_home) as store:
        if not store.get(run).phase.ended:
            submit.cancel_run(store, run)
            _keep(store)


def snapshots(store_home: Path, runs: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Snapshots of runs by name. Raises JobError for a run that is not in the store."""
    with open_reader(store_home) as reader:
        every = {one["name"]: one for one in reader.snapshots()} if len(runs) > 1 else {}
        found: dict[str, Mapping[str, Any]] = {}
        for run in runs:
            one = every.get(run) or reader.snapshot(run)
            if one is None:
                raise reader.unknown(run)
            found[run] = one
        return found


class Keeper:
    """Checks now and then that a controller is alive: without one no run would end."""

    def __init__(self, store_home: Path) -> None:
        self._home = store_home
        self._due = 0.0

    def check(self) -> None:
        """To be called often. Raises StoreError when a controller is missing and cannot be started."""
        if time.monotonic() < self._due:
            return
        with open_store(self._home) as store:
            _keep(store)
        self._due = time.monotonic() + KEEP_SECONDS


def _keep(store: Store) -> None:
    keep_controller(store, wanted=configfile.load(config_path(os.environ), PROFILES).controller == "auto")


def message(error: OrchError) -> str:
    """An error as one text, with what to do next."""
    place = error.message if not isinstance(error, JobError) else str(error)
    return f"{place}\n{error.hint}" if error.hint else place


ENDED = frozenset(phase.value for phase in Phase if phase.ended)
