"""RenderRequest: everything that a bundle is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model.bundle import File
from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import Plan
from orchestrator.model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """Facts and wishes, with no default that would be looked up elsewhere.

    `job_dir` is the absolute directory of job.yaml. `present` names those of the spec's relative paths that are there:
    `model: bert` is a hub id unless a directory `bert` lies beside job.yaml, and only the caller can look.
    `templates` maps `job.json.j2` to its text, `payload` is what travels beside the rendered files (library and code).
    """

    spec: Spec
    plan: Plan
    cluster: Cluster
    run_id: str
    job_dir: str
    templates: Mapping[str, str]
    payload: tuple[File, ...] = ()
    signatures: tuple[Mapping[str, Any], ...] = ()
    attempt: int = 1
    present: frozenset[str] = field(default_factory=frozenset)
