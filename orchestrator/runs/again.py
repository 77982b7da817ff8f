"""The job of a run made again, to go on with: with other keys, new code or the cluster's profile as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.clusters import Backend
from orchestrator.errors import JobError
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Run
from orchestrator.policy.attempts import submission_of
from orchestrator.runs import changes
from orchestrator.runs.dispatch import stored_bundle
from orchestrator.runs.prepare import Prepared, prepare
from orchestrator.store import Store


@dataclass(frozen=True, slots=True)
class Again:
    """`prepared` has the run's own id; `told` are sentences about what is another than it was."""

    prepared: Prepared
    told: tuple[str, ...]


def make(
    store: Store, backend: Backend, run: Run, profile: Profile, *, overrides: Sequence[str], code: bool, current: bool
) -> Again | None:
    """None where the run goes on with its files as they are.

    `code`: with a fresh snapshot; `current`: on `profile`, where that is another than it was. Raises JobError for what
    must not change, and what `prepare` raises.
    """
    from orchestrator.config import specfile
    from orchestrator.inputs.snapshot import Snapshot

    kept = changes.kept(store.home, run)
    if kept is None or kept.job_dir is None or kept.profile is None:
        if overrides or code:
            raise JobError(
                f"{run.name} was submitted by another version of orch, or as a function: its job was not kept",
                hint="change job.yaml, and then: orch submit job.yaml --replace",
            )
        return None
    if not current:
        if overrides or code:
            raise JobError("a job that is made again gets the cluster's profile as it is", hint="leave kept out")
        return None
    told = changes.profile_changes(kept.profile, profile)
    if not (told or overrides or code):
        return None
    spec = specfile.restore(kept.job, overrides)
    files = changes.code_of(stored_bundle(store.home, submission_of(run)))
    as_it_was = Snapshot(files=files, bytes=sum(len(file.content) for file in files), skipped=())
    prepared = prepare(
        spec,
        backend,
        job_dir=kept.job_dir,
        run_id=run.run_id,
        code=None if code else as_it_was,
    )
    found = changes.changes(store.home, run, prepared)
    if "run" in found.keys:
        raise JobError("--set does not take run", hint="change job.yaml, and then: orch submit job.yaml --replace")
    changes.refuse_what_must_stay(run.name, found)
    profile_told = (f"cluster {run.cluster}: {one}" for one in told)
    return Again(prepared, (*profile_told, *found.keys.values(), *found.files.values()))
