"""What a test may do with any cluster: kubectl, namespaces of its own, service accounts, the server's own counts."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEST_LABEL = "testbed"  # on every namespace that a test makes


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A namespace with `restricted` enforced and a claim `claim` that pods on all nodes may write."""

    name: str
    claim: str
    shared: Path | None  # the claim's directory on this machine; None where it is somewhere else


class Access(ABC):
    """A cluster as its administrator sees it, through kubectl."""

    def __init__(
        self,
        *,
        kubeconfig: Path,
        kubectl: Path,
        directory: Path,
        image: str,
        python: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kubeconfig = kubeconfig
        self._environment = environment or {"PATH": "/usr/bin:/bin", "HOME": str(directory)}
        self.image = image  # with torch and deepspeed
        self.python = python  # the interpreter there that has them
        self._kubectl = kubectl
        self._directory = directory  # for kubeconfigs of service accounts

    def kubectl(self, *argv: str, input: str | None = None, check: bool = True, timeout: float = 90) -> str:  # noqa: A002 - as in subprocess
        """What one command printed on its standard output."""
        done = self._run(*argv, input=input, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(argv)} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def said(self, *argv: str, input: str | None = None, timeout: float = 90) -> subprocess.CompletedProcess[str]:  # noqa: A002 - as in subprocess
        """One command with its exit status, for what is meant to be refused."""
        return self._run(*argv, input=input, timeout=timeout)

    def apply(self, text: str) -> str:
        """Server-side, as a user's `kubectl apply --server-side -f -`, with unknown fields refused."""
        return self.kubectl("apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-", input=text)

    def get(self, *argv: str) -> dict[str, Any]:
        """One object as the server has it; {} when there is none."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *argv, "--ignore-not-found", "-o", "json") or "{}")
        return found

    def items(self, *argv: str) -> list[dict[str, Any]]:
        """All objects of a kind that the arguments select."""
        found: list[dict[str, Any]] = self.get(*argv).get("items", [])
        return found

    def namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> Space:
        """A new namespace whose name begins with `name`, with a service account, and a claim `shared`."""
        stem = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
        space = self._make_space(f"{stem}-{secrets.token_hex(2)}", labels or {})
        self.until(
            lambda: self.get("serviceaccount", "default", "-n", space.name), hint=f"{space.name} has a service account"
        )
        return space

    def delete_namespace(self, name: str) -> None:
        """Everything in it, at once: pods get no time to end."""
        self._run("delete", "pod", "--all", "-n", name, "--force", "--grace-period=0", "--wait=false")
        self._run("delete", "namespace", name, "--wait=false")

    def serves(self, kind: str) -> bool:
        """Whether there are objects of a kind: a resource's name, singular or plural."""
        return self.said("get", kind, "-A").returncode == 0

    @abstractmethod
    def heal(self) -> None:
        """As new for the next test."""

    def kubeconfig_for(self, namespace: str, serviceaccount: str) -> Path:
        """A configuration with a token of that account, good for two hours."""
        token = self.kubectl("create", "token", serviceaccount, "-n", namespace, "--duration=2h").strip()
        document = yaml.safe_load(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
        document["users"] = [{"name": serviceaccount, "user": {"token": token}}]
        document["contexts"][0]["context"] |= {"user": serviceaccount, "namespace": namespace}
        path = self._directory / f"{namespace}-{serviceaccount}"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def request_counts(self) -> Counter[tuple[str, str]]:
        """Requests that the API server has answered since it started, by verb and resource."""
        counts = Counter[tuple[str, str]]()
        for line in self.kubectl("get", "--raw", "/metrics").splitlines():
            if line.startswith("apiserver_request_total{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                counts[labels["verb"], labels["resource"]] += int(float(line.rpartition(" ")[2]))
        return counts

    def until(self, what: Callable[[], object], *, seconds: float = 120, hint: str = "") -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := what():
                return value
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s: {hint}\n{self.story()}")

    def story(self) -> str:
        """What a person would look at first."""
        parts = [self._run("get", "nodes,pods", "-A", "-o", "wide").stdout]
        parts.append(self._run("get", "events", "-A", "--sort-by=.lastTimestamp").stdout[-4000:])
        return "\n".join(parts)

    # Parts

    @abstractmethod
    def _make_space(self, name: str, labels: Mapping[str, str]) -> Space: ...

    def _run(self, *argv: str, input: str | None = None, timeout: float = 90) -> subprocess.CompletedProcess[str]:  # noqa: A002 - as in subprocess
        command = [str(self._kubectl), f"--kubeconfig={self.kubeconfig}", *argv]
        try:
            return subprocess.run(
                command,
                env=self._environment,
                input=input,
                text=True,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(command, 124, "", f"not within {error.timeout} s")


def namespace_object(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    enforced = {"pod-security.kubernetes.io/enforce": "restricted", TEST_LABEL: "true", **labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}}


def claim_object(namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    asked = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": asked}
