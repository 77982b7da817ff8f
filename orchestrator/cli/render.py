"""`orch render`: every file of a job, written to a directory; no cluster is contacted and nothing is stored."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import job as jobs
from orchestrator.cli import rendering
from orchestrator.cli.terminal import say, warn
from orchestrator.errors import OK, JobError
from orchestrator.model.bundle import Bundle
from orchestrator.views import units


def run(options: Namespace) -> int:
    job = jobs.load(options)
    prepared = jobs.prepared(job, options.name)
    for warning in prepared.warnings:
        warn(warning)
    if options.output == "-":
        sys.stdout.write(_stream(prepared.bundle, job.backend.kind))
        return OK
    rendering.write(prepared.bundle, options.output, force=options.force)
    bundle = prepared.bundle
    say(f"{units.plural(len(bundle.files), 'file')} for {job.cluster} written to {options.output}")
    return OK


def _stream(bundle: Bundle, kind: str) -> str:
    if kind != "kubernetes":
        raise JobError(
            f"a job for {kind} is a directory of files, which stdout cannot hold",
            hint="give a directory with -o; -o - is for clusters of kind kubernetes",
        )
    manifests = [bundle.text(file.path) for file in bundle.files if file.path.endswith(".yaml")]
    return "---\n".join(text.removeprefix("---\n") for text in manifests)
