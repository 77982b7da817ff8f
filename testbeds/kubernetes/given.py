"""The user's own cluster instead of ours: KUBE_TESTBED_KUBECONFIG names its configuration.

KUBE_TESTBED_IMAGE is an image there with torch and deepspeed in its
`python`, KUBE_TESTBED_STORAGE_CLASS a storage class whose volumes several nodes may write; left out, the cluster's
default is asked. Tests that need faults, or this machine's own image, skip there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from testbeds.kubernetes.access import Access, Space, claim_object, namespace_object
from testbeds.kubernetes.binaries import Binaries

# Read here: tests are shielded from the variables of the one who starts them.
KUBECONFIG = os.environ.get("KUBE_TESTBED_KUBECONFIG", "")
TEST_IMAGE = os.environ.get("KUBE_TESTBED_IMAGE", "")
STORAGE_CLASS = os.environ.get("KUBE_TESTBED_STORAGE_CLASS", "")
ENVIRONMENT = dict(os.environ)  # what a plugin that fetches credentials needs: HOME among it


class GivenCluster(Access):
    """A cluster that belongs to somebody: tests make namespaces there, and take away those only."""

    def __init__(self, directory: Path) -> None:
        kubectl = Binaries().program("kubectl") or Path(shutil.which("kubectl") or "kubectl")
        super().__init__(
            kubeconfig=Path(KUBECONFIG).resolve(),
            kubectl=kubectl,
            directory=directory,
            image=TEST_IMAGE,
            python="python",
            environment=ENVIRONMENT,
        )
        self._made: list[str] = []

    def start(self) -> None:
        """See that it can be used. One that was named and can't be is a failure, not a reason to skip."""
        if not self.kubeconfig.is_file():
            raise AssertionError(f"KUBE_TESTBED_KUBECONFIG names {self.kubeconfig}, which is no file")
        if not shutil.which(self._kubectl):
            raise AssertionError("the user's cluster needs kubectl: none is on PATH, and none was built")
        asked = self.said("auth", "can-i", "create", "namespaces")
        if asked.returncode != 0:
            raise AssertionError(
                f"no namespace can be made with {self.kubeconfig}: {asked.stdout}{asked.stderr}".strip()
            )

    def stop(self, *, keep: bool = False) -> None:
        self.heal()

    def heal(self) -> None:
        """Take away every namespace that was made here."""
        while self._made:
            self.delete_namespace(self._made.pop())

    def _make_space(self, name: str, labels: Mapping[str, str]) -> Space:
        storage = {"storageClassName": STORAGE_CLASS} if STORAGE_CLASS else {}
        self._made.append(name)
        self.apply(yaml.safe_dump_all([namespace_object(name, labels), claim_object(name, "shared", storage)]))
        return Space(name=name, claim="shared", shared=None)
