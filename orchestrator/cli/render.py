"""`orch render`: every file of a job, written to a directory; nothing is stored, and no cluster is changed."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import job as jobs
from orchestrator.cli import rendering
from orchestrator.cli.job import Job
from orchestrator.cli.terminal import say, warn
from orchestrator.clusters import kind_of
from orchestrator.errors import OK, JobError
from orchestrator.model.bundle import Bundle
from orchestrator.views import units

_LARGEST = 10**6  # attempts; their directories have six digits


def run(options: Namespace) -> int:
    if not 0 < options.attempt < _LARGEST:
        raise JobError(f"--attempt {options.attempt}: wanted a number from 1 to {_LARGEST - 1}")
    job = jobs.load(options, job_kind=options.kind)
    prepared = jobs.prepared(job, options.name, attempt=options.attempt)
    for warning in prepared.warnings:
        warn(warning)
    if options.diff:
        sys.stdout.write(_difference(job, prepared.bundle, options))
        return OK
    if options.output == "-":
        sys.stdout.write(_stream(prepared.bundle, job.backend.kind))
        return OK
    rendering.write(prepared.bundle, options.output, force=options.force)
    bundle = prepared.bundle
    say(f"{units.plural(len(bundle.files), 'file')} for {job.cluster} written to {options.output}")
    return OK


def _stream(bundle: Bundle, kind: str) -> str:
    manifests = kind_of(kind).manifests
    if manifests is None:
        raise JobError(
            f"a job for {kind} is a directory of files, which stdout cannot hold",
            hint="give a directory with -o; -o - is for clusters of kind kubernetes",
        )
    return manifests.stream(bundle)


def _difference(job: Job, laid_over: Bundle, options: Namespace) -> str:
    import difflib

    manifests = kind_of(job.backend.kind).manifests
    if manifests is None:
        raise JobError(
            f"{job.cluster} is of kind {job.backend.kind}, where no overlay is laid over a job",
            hint="leave --diff out; it is for clusters of kind kubernetes",
        )
    plain = jobs.prepared(job, options.name, attempt=options.attempt, change=manifests.without_overlay).bundle
    before, after = (manifests.job_object(bundle).splitlines(keepends=True) for bundle in (plain, laid_over))
    return "".join(difflib.unified_diff(before, after, "rendered", "with the overlay"))
