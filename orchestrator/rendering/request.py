"""RenderRequest: everything that a bundle is made from. KindRendering: what a kind of cluster adds to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.job.protocol.jobfile import Signature
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import Plan
from orchestrator.model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRendering:
    """What differs from one kind of cluster to another in its bundles. A template finds `values` by the kind's name.

    `base`: where the relative paths of a job start. `run_dir`: None where only the start of the job can tell.
    `manifest_values`: for templates of what a scheduler reads, from the files that travel into the job.
    `texts`: field, name and value of more texts in its profile that a credential may stand in.
    """

    hosts: Callable[[RenderRequest], list[str]]
    base: Callable[[RenderRequest], str]
    run_dir: Callable[[RenderRequest], str | None]
    values: Callable[[RenderRequest], dict[str, object]] = lambda _: {}
    manifest_values: Callable[[Bundle], dict[str, object]] = lambda _: {}
    finish: Callable[[RenderRequest, Sequence[File]], Sequence[File]] = lambda _, manifests: manifests
    warnings: Callable[[RenderRequest], tuple[str, ...]] = lambda _: ()
    texts: Callable[[RenderRequest], Iterator[tuple[str, str, str]]] = lambda _: iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """Facts and wishes, with no default that would be looked up elsewhere.

    `job_dir` is the absolute directory of job.yaml. `present` names those of the spec's relative paths that are there:
    `model: bert` is a hub id unless a directory `bert` lies beside job.yaml, and only the caller can check.
    `kubernetes_secrets`: jobs of this kind can read Secrets that Kubernetes keeps.
    `templates` maps `job.json.j2` to its text, `payload` is what travels beside the rendered files (library and code).
    """

    spec: Spec
    plan: Plan
    cluster: Cluster
    kind: KindRendering
    run_id: str
    job_dir: str
    templates: Mapping[str, str]
    payload: tuple[File, ...] = ()
    signatures: tuple[Signature, ...] = ()
    attempt: int = 1
    present: frozenset[str] = field(default_factory=frozenset)
    kubernetes_secrets: bool = False
