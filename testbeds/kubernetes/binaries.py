"""Where the programs and manifests of the test bed are: given by the user, or built by build.sh."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("build.sh")
PROGRAMS = (
    "kubectl", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet",
    "coredns", "pause", "training-operator", "jobset", "trainer",
)  # fmt: skip
MANIFESTS = ("training-operator", "jobset", "trainer", "trainer-runtimes")
BUILD_LIMIT = 1500  # seconds; on two busy cores a build from nothing takes 15 minutes
# Read here: tests are shielded from the variables of the one who starts them.
GIVEN = [Path(os.environ[name]) for name in ("KUBE_TESTBED_BINARIES", "KUBEBUILDER_ASSETS") if os.environ.get(name)]


class Absent(Exception):
    """A program of the test bed is not here and nobody builds it; the message says which."""


def cache() -> Path:
    """The directory that build.sh fills from this checkout's modules."""
    told = subprocess.run([str(SCRIPT), "--where"], check=False, capture_output=True, text=True)
    return Path(told.stdout.strip() or "/nonexistent")  # where it can't say so, nothing can be built either


class Binaries:
    """Programs and manifests by name. `await_built` first."""

    def __init__(self) -> None:
        self.cache = cache()
        self.places = [*GIVEN, self.cache]

    def program(self, name: str) -> Path | None:
        return next((place / name for place in self.places if os.access(place / name, os.X_OK)), None)

    def manifest(self, name: str) -> Path | None:
        files = (place / "manifests" / f"{name}.yaml" for place in self.places)
        return next((file for file in files if file.exists()), None)

    def missing(self, programs: tuple[str, ...], manifests: tuple[str, ...]) -> list[str]:
        return [
            *(name for name in programs if self.program(name) is None),
            *(f"{name}.yaml" for name in manifests if self.manifest(name) is None),
        ]

    @property
    def complete(self) -> bool:
        return not self.missing(PROGRAMS, MANIFESTS)

    def await_built(self, programs: tuple[str, ...] = PROGRAMS, manifests: tuple[str, ...] = MANIFESTS) -> None:
        """Wait for a build that runs beside the tests; Absent when none does and something is missing."""
        end = time.monotonic() + BUILD_LIMIT
        while missing := self.missing(programs, manifests):
            if not self._building():
                if missing := self.missing(programs, manifests):  # it may have ended between the two looks
                    raise Absent(f"{', '.join(missing)} missing: {self._advice()}")
                return
            if time.monotonic() > end:
                raise Absent(f"{', '.join(missing)} not built within {BUILD_LIMIT} s: see {self.cache}/build.log")
            time.sleep(1)

    def _advice(self) -> str:
        log = self.cache / "build.log"
        if log.exists():
            return f"{SCRIPT} builds it; what the last build said is in {log}"
        if shutil.which("go") is None:
            return f"it takes Go to build it ({SCRIPT}), or KUBE_TESTBED_BINARIES to name where it is"
        return f"{SCRIPT} builds it"

    def _building(self) -> bool:
        lock = self.cache / "lock"
        if not lock.exists():
            return False
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False
