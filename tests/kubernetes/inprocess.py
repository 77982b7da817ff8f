"""orch without its command line: prepared jobs and a backend in this process, with pods that cost next to nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.clusters import Backend
from orchestrator.clusters.kubernetes.api import APPLY, Api, Query
from orchestrator.config import specfile
from orchestrator.model.run import Submission
from orchestrator.runs.prepare import Prepared, prepare
from tests.kubernetes.lab import KubeLab

QUIET = "trap 'exit 182' TERM; echo alive; sleep 600 & wait"
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/(?P<space>[^/]+))?(?:/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?)?(?P<part>/[^/]+)?"
)

Asked = tuple[str, str, str]  # verb, API group, resource


class Noting(Api):
    """Notes what it asks a real server, in the words of a Role's rules."""

    def __init__(self, name: str, profile: Any) -> None:
        super().__init__(name, profile)
        self.asked: set[Asked] = set()

    def _request(self, method: str, path: str, *, query: Query = (), **how: Any) -> Any:
        self.asked.update(_asked(method, path, query, how.get("content_type")))
        return super()._request(method, path, query=query, **how)


def _asked(method: str, path: str, query: Query, content_type: str | None) -> Sequence[Asked]:
    match = _PATH.fullmatch(path)
    plural = match["plural"] if match else None
    if match is None or (plural is None and match["space"] is None) or (plural or "").startswith("selfsubject"):
        return ()  # what is served, and what one is oneself: whoever is let in may ask
    if plural is None:
        return (("get", "", "namespaces"),)
    of = (match["group"] or "", f"{plural}{match['part'] or ''}")
    if method == "GET" and match["name"] is None:
        return ((("watch" if ("watch", "true") in query else "list"), *of),)
    verb = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
    return ((verb, *of), ("create", *of)) if content_type == APPLY else ((verb, *of),)


def quiet(kind: str, script: str = QUIET, **pod: Any) -> dict[str, Any]:
    """An overlay for a job of any kind whose pods run a shell in place of the agent."""
    command = {"command": ["/bin/sh", "-c", script], "args": []}
    if kind == "trainjob":
        return {"spec": {"trainer": command}}
    name = "pytorch" if kind == "pytorchjob" else "node"
    spec = {"template": {"spec": {"containers": [{"name": name, **command}], **pod}}}
    if kind == "pytorchjob":
        return {"spec": {"pytorchReplicaSpecs": {"Master": spec, "Worker": spec}}}
    return {"spec": {"replicatedJobs": [{"name": "node", "template": {"spec": spec}}]}}


def suspended(kind: str) -> dict[str, Any]:
    """An overlay for a job that makes no pods."""
    return {"spec": {"runPolicy": {"suspend": True}} if kind == "pytorchjob" else {"suspend": True}}


def prepared(job: Path, backend: Backend, name: str | None = None) -> Prepared:
    loaded = specfile.load(job)
    return prepare(loaded.spec, backend, job_dir=loaded.job_dir, name=name)


def submission(lab: KubeLab, made: Prepared, attempt: int = 1, **changes: Any) -> Submission:
    """The first attempt at a prepared job, or another one."""
    of: dict[str, Any] = {
        "run": made.spec.name, "run_id": made.run_id, "attempt": attempt, "cluster": made.cluster.name,
        "digest": made.bundle.digest, "dir": f"/shared/runs/{made.spec.name}",
        "checkpoint_dir": f"/shared/runs/{made.spec.name}/ckpt", "bundle_file": str(lab.home / "none.zip"),
        "nodes": made.plan.topology.nodes,
    }  # fmt: skip
    return Submission(**{**of, **changes})
