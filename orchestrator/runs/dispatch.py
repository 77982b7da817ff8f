"""Dispatch: a recorded intention becomes processes. Used by the command line at once and by the controller later.

Needs nothing but the store and the run's own directory on this machine: no job.yaml, no planner, no template.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.bundle import archive
from orchestrator.clusters import Backend, kind_of
from orchestrator.errors import ClusterError, JobError, StoreError, Unreachable
from orchestrator.job.protocol.encoding import parse, to_json
from orchestrator.job.protocol.errors import RecordError
from orchestrator.job.protocol.files import JOB_FILE
from orchestrator.job.protocol.jobfile import JobFile
from orchestrator.job.system import atomic, failpoints
from orchestrator.model.bundle import Bundle
from orchestrator.model.cluster import BadNodes
from orchestrator.model.run import Cause, EventData, Run, Submission
from orchestrator.policy import nodes
from orchestrator.policy.attempts import submission_of
from orchestrator.policy.nodes import NodeRecord
from orchestrator.store import Lease, Store
from orchestrator.system import logs

POSTPONED_SECONDS = 10.0
ANOTHERS_SECONDS = 120.0  # for the process that recorded an intention to hand it over, where only it has the secrets

Answer = tuple[str, EventData]  # kind and data of the event that records the result of a dispatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """`values` by the job's variable; `missing` are sentences about those that could not be read."""

    values: Mapping[str, str]
    missing: tuple[str, ...]


def stage(bundle: Bundle, run_dir: Path) -> Path:
    """Store a bundle on this machine for every attempt of a run: completely or not at all. Raises StoreError."""
    target = run_dir / f"bundle-{bundle.digest[:12]}.zip"
    if target.is_file():
        return target
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        atomic.write(target, archive.pack(bundle.files), sync=False)
    except OSError as error:
        raise StoreError(
            f"the job's files cannot be written to {run_dir}: {error.strerror}",
            hint="set ORCH_HOME to a directory that you may write to and that has room",
        ) from error
    return target


def stored_bundle(home: Path, submission: Submission) -> Bundle:
    """The bundle that `stage` stored for an attempt's run below `home`, which may have moved. Raises JobError."""
    recorded = Path(submission.bundle_file)
    here = home / "runs" / submission.run / recorded.name
    return load_bundle(here if here.exists() else recorded, submission.digest)


def load_bundle(path: Path, digest: str) -> Bundle:
    """The bundle that `stage` stored. Raises JobError when it is gone or not what was recorded."""
    try:
        bundle = Bundle(files=archive.unpack(path.read_bytes()))
    except (OSError, zipfile.BadZipFile) as error:
        raise JobError(f"the job's files in {path} cannot be read ({error})") from error
    if bundle.digest != digest:
        raise JobError(f"the job's files in {path} are not those that were submitted")
    return bundle


def read_secrets(job: JobFile, environment: Mapping[str, str], *, here: bool) -> Secrets:
    """The values of secrets of kind `env`. `here`: the job runs on this machine, and so reads secret files on it."""
    values: dict[str, str] = {}
    missing: list[str] = []
    for name, source in job.secrets.items():
        if source.env is not None:
            value = environment.get(source.env, "")
            values[name] = value
            if not value:
                missing.append(f"{name}: the environment variable {source.env} is not set")
        elif source.file is not None and here and not os.access(Path(source.file).expanduser(), os.R_OK):
            missing.append(f"{name}: the file {source.file} cannot be read")
        elif source.kubernetes is not None and here:
            missing.append(f"{name}: a Kubernetes secret cannot be read on this machine")
    return Secrets(values=values, missing=tuple(missing))


def secret_variables(job: JobFile) -> list[str]:
    """Names of the environment variables that a job reads secrets from."""
    return sorted({source.env for source in job.secrets.values() if source.env is not None})


def job_of(bundle: Bundle) -> JobFile:
    """Raises JobError."""
    try:
        return parse(JobFile, bundle.text(JOB_FILE), JOB_FILE)
    except RecordError as error:
        raise JobError(f"the job's files are of another version of orch: {error}") from error


def excluded(
    node_records: Iterable[NodeRecord], backend: Backend, needed: int, limits: BadNodes
) -> tuple[NodeRecord, ...]:
    """The nodes of a cluster that an attempt of `needed` nodes shall not get now.

    Lists the cluster's nodes only if one is to be excluded. Raises ClusterError.
    """
    records, now = tuple(node_records), time.time()
    if not any(nodes.is_out(one, limits, now) for one in records):
        return ()
    return nodes.leave_out(records, limits, now, hosts=backend.hosts(), needed=needed)


def dispatch(
    store: Store,
    backend: Backend,
    run: Run,
    environment: Mapping[str, str],
    *,
    lease: Lease | None = None,
    bundle: Bundle | None = None,
) -> Run:
    """Submit the newest attempt to its cluster and record the result; the run after that. `bundle`: the staged one.

    Safe at any time, by any number of processes: the backend adopts an attempt that it has already, and an error
    here is not recorded for an attempt that another process has submitted meanwhile. The controller shows its `lease`.
    """
    if run.submission is None:
        return run
    anothers = lease is not None and run.not_before is None
    try:
        if bundle is None or bundle.digest != run.submission.digest:
            bundle = stored_bundle(store.home, run.submission)
        answer = attempt(backend, run, environment, bundle, anothers=anothers)
    except JobError as error:
        answer = _refused(error)
    return record_result(store, backend, run, answer, lease=lease)


def attempt(
    backend: Backend, run: Run, environment: Mapping[str, str], bundle: Bundle, *, anothers: bool = False
) -> Answer:
    """The part of `dispatch` that waits for the cluster: the event with its result. Records nothing.

    `anothers`: a process that has the job's secrets may be handing over too.
    """
    submission = submission_of(run)
    try:
        secrets = read_secrets(job_of(bundle), environment, here=kind_of(backend.kind).here)
        if secrets.missing:
            return _without_secret(run, "; ".join(secrets.missing), anothers=anothers)
        with logs.about(run=submission.run, cluster=submission.cluster):
            handle = backend.submit(submission, bundle, secrets.values)
            logs.info(__name__, f"submitted attempt {submission.attempt} as {handle}")
    except Unreachable as error:
        return "postponed", {"not_before": time.time() + POSTPONED_SECONDS, "because": error.message}
    except JobError as error:
        return _refused(error)
    except ClusterError as error:
        return "failed", {"cause": Cause.REFUSED.value, "because": error.message}
    given = to_json(replace(submission, handle=handle))
    return "handed_over", {"submission": given, "handle": handle, "not_before": None}


def record_result(store: Store, backend: Backend, run: Run, answer: Answer, *, lease: Lease | None = None) -> Run:
    """The other part: record what `attempt` answered of a run; the run after that."""
    submission, (kind, data) = submission_of(run), answer
    if kind != "handed_over":
        return store.record(run.name, kind, data, lease=lease, submission=submission)
    failpoints.failpoint("handover.submitted")
    if data["handle"] == submission.handle:
        return run
    after = store.record(run.name, kind, data, lease=lease, attempt=run.attempt)
    failpoints.failpoint("handover.recorded")
    if after.phase.ended or after.attempt != submission.attempt:
        backend.cancel(submission, now=True)  # the run has gone on without this attempt: no controller would end it
    return after


def _without_secret(run: Run, missing: str, *, anothers: bool) -> Answer:
    """What follows from a secret that is missing. `anothers`: `orch submit` or `orch resume` may be handing over."""
    if anothers:
        not_before = (run.intended_at or time.time()) + ANOTHERS_SECONDS
        return "postponed", {"not_before": not_before, "missing": missing}  # of this process, not of the run
    because = f"{missing}; set it and type: orch resume {run.name}"
    return "stopped", {"cause": Cause.SECRET_MISSING.value, "because": because}


def _refused(error: JobError) -> Answer:
    because = f"{error.message}: submit the job under another name"
    return "failed", {"cause": Cause.REFUSED.value, "because": because}
