"""From a spec to a bundle: probe, plan, render. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clusters import Backend, kind_of
from orchestrator.errors import PlanError, together
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.plan import Plan
from orchestrator.model.spec import Spec

if TYPE_CHECKING:
    from orchestrator.inputs.snapshot import Snapshot
    from orchestrator.rendering import RenderRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is known before anything is written. `spec_digest` is of the spec, `run_id` of the cluster too.

    `job_dir`: where its paths start; None where its profile was made for this job alone. `left_behind`: what of the
    code does not travel with the job, and why. `notes`: what its cluster makes of it.
    """

    spec: Spec
    cluster: Cluster
    plan: Plan
    bundle: Bundle
    run_id: str
    spec_digest: str
    job_dir: str | None = None
    left_behind: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user who submits or renders the job."""
        behind = (f"code: {what}; it does not travel with the job" for what in self.left_behind)
        return (*self.plan.warnings, *self.notes, *behind)


def check_secrets(spec: Spec, backend: Backend) -> None:
    """Check that jobs on this kind of cluster can read the secrets of a spec. Raises JobError."""
    from orchestrator.config import specfile

    specfile.check_secrets(spec, backend.kind, kubernetes=kind_of(backend.kind).kubernetes_secrets)


def plan_job(spec: Spec, cluster: Cluster, job_dir: str) -> Plan:
    """The plan of a spec on a cluster; `fits` says whether it does. Raises JobError."""
    # The planner and the libraries below it are not needed to resume, cancel or watch a run.
    from orchestrator import planner

    if spec.model is None:
        return planner.make_plan(spec, cluster, None)
    from orchestrator.inputs import modelfacts

    found = modelfacts.find(spec.model, job_dir)
    notes = planner.check_model(spec, found.config if found is not None else None)
    if notes.problems:
        raise together(notes.problems)
    facts = modelfacts.facts_of(found.config, found.source) if found is not None else None
    plan = planner.make_plan(spec, cluster, facts)
    return replace(plan, warnings=(*notes.warnings, *plan.warnings))


def prepare(
    spec: Spec,
    backend: Backend,
    *,
    job_dir: str,
    name: str | None = None,
    run_id: str | None = None,
    code: Snapshot | None = None,
    must_fit: bool = True,
    attempt: int = 1,
    change: Callable[[Profile], Profile] | None = None,
) -> Prepared:
    """Probe, plan and render; writes nothing. `name` renames the job; `change` gives the cluster another profile.

    `run_id`: of the run that the job shall go on with; without it, one that is made from job and cluster.
    `code`: the snapshot to send; without it, one is taken.

    Raises JobError, ClusterError, and PlanError when the plan does not fit and `must_fit`.
    """
    from orchestrator import rendering
    from orchestrator.config import specfile

    if name is not None:
        spec = specfile.named(spec, name)
    check_secrets(spec, backend)
    cluster = backend.probe()
    if change is not None:
        cluster = replace(cluster, profile=change(cluster.profile))
    plan = plan_job(spec, cluster, job_dir)
    if must_fit and plan.fits is False:
        raise _does_not_fit(plan)
    canonical = specfile.canonical(spec)
    run_id = run_id or hashlib.sha256(json.dumps([spec.name, canonical, cluster.name]).encode()).hexdigest()[:12]
    if code is None and spec.code is not None:
        code = _code(Path(job_dir, spec.code))
    request = _request(spec, plan, cluster, run_id=run_id, job_dir=job_dir, code=code, attempt=attempt)
    return Prepared(
        spec=spec,
        cluster=cluster,
        plan=plan,
        bundle=rendering.render(request),
        run_id=run_id,
        spec_digest=hashlib.sha256(canonical.encode()).hexdigest(),
        job_dir=job_dir if change is None else None,
        left_behind=code.skipped if code is not None else (),
        notes=request.kind.warnings(request),
    )


def _request(
    spec: Spec, plan: Plan, cluster: Cluster, *, run_id: str, job_dir: str, code: Snapshot | None, attempt: int
) -> RenderRequest:
    from orchestrator import rendering
    from orchestrator.bundle import assets
    from orchestrator.policy import signatures

    kind = kind_of(cluster.kind)
    return rendering.RenderRequest(
        spec=spec,
        plan=plan,
        cluster=cluster,
        run_id=run_id,
        job_dir=job_dir,
        kind=kind.rendering(),
        templates=assets.load_templates(kind.templates or kind.name),
        payload=(assets.load_library(), *(code.files if code is not None else ())),
        signatures=signatures.rows(),
        attempt=attempt,
        kubernetes_secrets=kind.kubernetes_secrets,
        present=frozenset(path for path in _named_paths(spec) if Path(job_dir, path).exists()),
    )


def _code(directory: Path) -> Snapshot:
    from orchestrator.inputs import snapshot

    return snapshot.take(directory)


def _named_paths(spec: Spec) -> list[str]:
    named = (spec.model and spec.model.path, spec.tokenizer, spec.data and spec.data.dataset)
    return [path for path in named if path]


def _does_not_fit(plan: Plan) -> PlanError:
    memory = plan.memory
    if memory is None:
        return PlanError("the plan does not fit", hint="orch plan job.yaml shows it term by term")
    return PlanError(
        f"the plan does not fit: a rank needs {_gib(memory.rank_bytes)} of {_gib(memory.rank_limit)},"
        f" a host {_gib(memory.host_bytes)} of {_gib(memory.host_limit)}",
        hint="orch plan job.yaml shows it term by term; a higher ZeRO stage, offload or more nodes make it smaller",
    )


def _gib(amount: int | None) -> str:
    return "unknown" if amount is None else f"{amount / 2**30:.1f} GiB"
