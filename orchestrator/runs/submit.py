"""What a person asks of runs: submit, resume, cancel. Each records the intention before it acts."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.clusters import Backend, kind_of
from orchestrator.errors import ClusterError, JobError, Unreachable
from orchestrator.job.protocol import files
from orchestrator.job.protocol.disk import read
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.protocol.records import Owner
from orchestrator.job.system import failpoints
from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import Cause, EventData, Phase, Question, Run, Submission
from orchestrator.policy.attempts import intention, next_submission, submission_of
from orchestrator.policy.nodes import USUAL, NodeRecord
from orchestrator.runs.changes import changes, keep, refuse_what_must_stay
from orchestrator.runs.dispatch import (
    Answer,
    attempt,
    dispatch,
    excluded,
    job_of,
    read_secrets,
    record_result,
    secret_variables,
    stage,
    stored_bundle,
)
from orchestrator.runs.prepare import Prepared
from orchestrator.store import Store, mirror


def submit_run(
    store: Store,
    backend: Backend,
    prepared: Prepared,
    environment: Mapping[str, str],
    *,
    from_step: int | None = None,
    from_scratch: bool = False,
    bad_nodes: BadNodes = USUAL,
) -> Run:
    """Record a run and dispatch its first attempt, or adopt the unfinished run of the same name and spec.

    May be killed anywhere and called again, at the same moment too: one run comes of it. Raises JobError when the name
    is taken, a secret is missing or the checkpoint directory is another run's; ClusterError when the cluster refuses.
    """
    existing = store.find(prepared.spec.name)
    run = existing or _record(
        store, backend, prepared, environment, from_step=from_step, from_scratch=from_scratch, bad_nodes=bad_nodes
    )
    run = _adopted(store, run, prepared)
    if _is_due(backend, run, is_new=existing is None):
        run = dispatch(store, backend, run, environment, bundle=prepared.bundle)
    return _accepted(run)


def submit_runs(
    store: Store,
    backend: Backend,
    jobs: Iterable[Prepared],
    environment: Mapping[str, str],
    *,
    bad_nodes: BadNodes = USUAL,
) -> list[Run]:
    """What `submit_run` does, for many: while the cluster answers for some, the next are prepared and recorded.

    Raises what `submit_run` raises, for the first job concerned; some of the later ones may then have been
    dispatched, too, with their results recorded.
    """
    # Not needed for one run, and it takes a while to import.
    from concurrent.futures import Future, ThreadPoolExecutor

    runs: dict[str, Run] = {}
    under_way: deque[tuple[Run, Future[Answer]]] = deque()

    def conclude_one() -> None:
        run, answer = under_way.popleft()
        runs[run.name] = record_result(store, backend, run, answer.result())

    with ThreadPoolExecutor(backend.at_once) as pool:
        try:
            for prepared in jobs:
                existing = store.find(prepared.spec.name)
                run = existing or _record(store, backend, prepared, environment, bad_nodes=bad_nodes)
                run = _adopted(store, run, prepared)
                if _is_due(backend, run, is_new=existing is None) and run.name not in runs:
                    answer = pool.submit(attempt, backend, run, environment, prepared.bundle)
                    under_way.append((run, answer))
                runs.setdefault(run.name, run)
                while len(under_way) > backend.at_once or (under_way and under_way[0][1].done()):
                    conclude_one()
        finally:
            while under_way:
                conclude_one()
    return [_accepted(run) for run in runs.values()]


def _is_due(backend: Backend, run: Run, *, is_new: bool) -> bool:
    """Whether to dispatch a run's first attempt now, as far as is recorded."""
    waits = run.submission is not None and run.submission.handle is None and run.attempt == 1
    return waits and (is_new or _is_in_sight(backend, run))


def _is_in_sight(backend: Backend, run: Run) -> bool:
    """Whether the cluster knows the state of an attempt that a killed process may have submitted.

    If it does not answer, a refusal would not mean that nothing runs: the controller dispatches it later.
    """
    try:
        return backend.observe([Question(submission=submission_of(run))])[run.name].phase is not Phase.UNKNOWN
    except Unreachable:
        return False


def _record(
    store: Store,
    backend: Backend,
    prepared: Prepared,
    environment: Mapping[str, str],
    *,
    from_step: int | None = None,
    from_scratch: bool = False,
    bad_nodes: BadNodes,
) -> Run:
    spec, job = prepared.spec, job_of(prepared.bundle)
    backend.ready()
    here = kind_of(backend.kind).here
    _refuse_missing(job, environment, here=here, again="orch submit")
    run_dir = backend.run_dir(spec.name)
    checkpoint_dir = posixpath.join(run_dir, spec.checkpoint.dir)
    if here and posixpath.isabs(spec.checkpoint.dir):
        _check_owner(checkpoint_dir, prepared.run_id)
    staged = stage(prepared.bundle, store.home / "runs" / spec.name)
    keep(prepared, staged.parent)
    failpoints.failpoint("submit.staged")
    nodes = prepared.plan.topology.nodes
    without = _left_out(store, backend, prepared.cluster.name, nodes, bad_nodes)
    submission = Submission(
        run=spec.name,
        run_id=prepared.run_id,
        attempt=1,
        cluster=prepared.cluster.name,
        digest=prepared.bundle.digest,
        dir=run_dir,
        checkpoint_dir=checkpoint_dir,
        bundle_file=str(staged),
        nodes=nodes,
        from_step=from_step,
        from_scratch=from_scratch,
        exclude=tuple(one.node for one in without),
    )
    data: dict[str, object] = {
        **intention(submission, without),
        "run_id": prepared.run_id,
        "cluster": prepared.cluster.name,
        "spec_digest": prepared.spec_digest,
        "dir": run_dir,
        "checkpoint_dir": checkpoint_dir,
        "metrics": str(store.home / "runs" / spec.name / mirror.FILE),
        "steps": prepared.plan.steps,
        "max_failures": job.max_failures,
        "grace": job.timeouts.grace,
    }
    run, _ = store.create_run(spec.name, data, secrets=secret_variables(job))
    failpoints.failpoint("submit.recorded")
    return run


def _refuse_missing(job: JobFile, environment: Mapping[str, str], *, here: bool, again: str) -> None:
    missing = read_secrets(job, environment, here=here).missing
    if missing:
        raise JobError(
            f"a secret is missing: {'; '.join(missing)}", hint=f"set it, and then again: {again}", field="secrets"
        )


def _left_out(store: Store, backend: Backend, cluster: str, needed: int, bad_nodes: BadNodes) -> tuple[NodeRecord, ...]:
    """None if the cluster does not answer: the dispatch reports it and is tried again."""
    try:
        return excluded(store.node_records(cluster), backend, needed, bad_nodes)
    except Unreachable:
        return ()


def _adopted(store: Store, run: Run, prepared: Prepared) -> Run:
    found = changes(store.home, run, prepared)
    if found:
        how = "goes on" if run.phase.ended else "saves, ends it and goes on"
        replacing = f"--replace {how} with this job from the newest checkpoint; "
        raise JobError(
            f"there is a run named {run.name} already, and its job was another"
            f" ({run.cluster}, {run.phase.value}): {found}",
            hint=f"{'' if run.phase is Phase.SUCCEEDED else replacing}--name NAME starts another run",
        )
    if run.phase.ended:
        again = "" if run.phase is Phase.SUCCEEDED else f"orch resume {run.name} goes on with it; "
        raise JobError(
            f"the run {run.name} has ended already: {run.phase.value}", hint=f"{again}--name NAME starts another"
        )
    return run


def _accepted(run: Run) -> Run:
    if run.cause is Cause.REFUSED:
        raise ClusterError(run.because, hint=f"fix that and type: orch resume {run.name}")
    return run


def _check_owner(checkpoint_dir: str, run_id: str) -> None:
    try:
        owner = read(Owner, Path(checkpoint_dir, files.OWNER))
    except (OSError, RecordError):
        return  # it cannot be read here: the agent's exclusive create decides
    if owner is not None and owner.run_id != run_id:
        raise JobError(
            f"the checkpoint directory {checkpoint_dir} belongs to the run {owner.run}",
            hint="choose another checkpoint.dir, or a relative one: it lies under the run's own directory",
            field="checkpoint.dir",
        )


def resume_run(
    store: Store,
    backend: Backend,
    name: str,
    environment: Mapping[str, str],
    *,
    from_step: int | None = None,
    from_scratch: bool = False,
    again: Prepared | None = None,
    bad_nodes: BadNodes = USUAL,
) -> Run:
    """Go on with a run that ended early, by another attempt; `again`: with its job made again.

    Raises JobError when there is nothing to go on with.
    """
    run = store.get(name)
    if run.phase is Phase.SUCCEEDED:
        raise JobError(f"the run {name} is complete", hint="submit the job under another name to train it again")
    if not run.phase.ended:
        raise JobError(f"the run {name} has not ended: it is {run.phase.value}", hint=f"orch status {name} shows it")
    backend.ready()
    bundle = again.bundle if again is not None else stored_bundle(store.home, submission_of(run))
    _refuse_missing(job_of(bundle), environment, here=kind_of(backend.kind).here, again=f"orch resume {name}")
    without = _left_out(store, backend, run.cluster, submission_of(run).nodes, bad_nodes)
    submission = next_submission(run, from_step=from_step, from_scratch=from_scratch, without=without)
    intended = _another_job(store, again, submission, without) if again is not None else intention(submission, without)
    data = {**intended, "cause": Cause.NONE.value, "because": "its user resumed it", "not_before": None}
    resumed = store.record(name, "resumed", data, attempt=run.attempt)
    return _accepted(dispatch(store, backend, resumed, environment, bundle=bundle))


def _another_job(
    store: Store, prepared: Prepared, submission: Submission, without: tuple[NodeRecord, ...]
) -> EventData:
    """What an event records of the intention to submit an attempt with another job, which is staged here."""
    staged = stage(prepared.bundle, store.home / "runs" / submission.run)
    keep(prepared, staged.parent)
    job = job_of(prepared.bundle)
    return {
        **intention(replace(submission, digest=prepared.bundle.digest, bundle_file=str(staged)), without),
        "spec_digest": prepared.spec_digest,
        "steps": prepared.plan.steps,
        "max_failures": job.max_failures,
        "grace": job.timeouts.grace,
    }


def _refuse_complete(run: Run) -> None:
    if run.phase is Phase.SUCCEEDED:
        raise JobError(f"the run {run.name} is complete", hint="--name NAME starts another")


def replace_run(
    store: Store,
    backend: Backend,
    prepared: Prepared,
    environment: Mapping[str, str],
    *,
    ended: Callable[[str], bool],
    from_scratch: bool = False,
    bad_nodes: BadNodes = USUAL,
) -> Run:
    """Go on with a run by another attempt, made from another job; first it is cancelled, with a last checkpoint.

    `prepared` has the run's own id; `ended` waits for the end of a run and says whether it came. May be killed
    anywhere and called again: one attempt comes of it. The run as it is where nothing differs, or its end did not
    come. Raises JobError for what must not change, and what `submit_run` raises.
    """
    name = prepared.spec.name
    run = store.get(name)
    found = changes(store.home, run, prepared)
    if not found:
        return _adopted(store, run, prepared)
    refuse_what_must_stay(name, found)
    _refuse_complete(run)
    backend.ready()
    job = job_of(prepared.bundle)
    _refuse_missing(job, environment, here=kind_of(backend.kind).here, again="orch submit --replace")
    keep(prepared, stage(prepared.bundle, store.home / "runs" / name).parent)
    failpoints.failpoint("replace.staged")
    if not run.phase.ended:
        if not run.cancel_requested:
            store.record(name, "cancel_requested", {"cancel_now": False})
        failpoints.failpoint("replace.cancelled")
        if not ended(name):
            return run
        run = store.get(name)
        _refuse_complete(run)
    without = _left_out(store, backend, run.cluster, prepared.plan.topology.nodes, bad_nodes)
    submission = next_submission(run, from_scratch=from_scratch, without=without)
    data = {
        **_another_job(store, prepared, submission, without),
        "cause": Cause.NONE.value,
        "because": f"its user replaced its job: {found}",
        "not_before": None,
    }
    replaced = store.record(name, "resumed", data, attempt=run.attempt)
    failpoints.failpoint("replace.recorded")
    return _accepted(dispatch(store, backend, replaced, environment, bundle=prepared.bundle))


def cancel_run(store: Store, name: str, *, now: bool = False) -> Run:
    """Ask the controller to end a run, `now` without a chance to save. Raises JobError when it has ended otherwise."""
    run = store.get(name)
    if run.phase is Phase.CANCELLED or (run.cancel_requested and run.cancel_now >= now and not run.phase.ended):
        return run
    if run.phase.ended:
        raise JobError(f"the run {name} has ended already: {run.phase.value}")
    run = store.record(name, "cancel_requested", {"cancel_now": now})
    failpoints.failpoint("cancel.requested")
    return run
