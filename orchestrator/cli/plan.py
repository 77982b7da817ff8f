"""`orch plan`: what would run, whether it fits, and why."""

from __future__ import annotations

import sys
from argparse import Namespace

from orchestrator.cli import job as jobs
from orchestrator.cli import output
from orchestrator.cli.terminal import columns, painter
from orchestrator.errors import OK, JobError, PlanError
from orchestrator.model.plan import Plan
from orchestrator.runs.prepare import check_secrets, plan_job
from orchestrator.views import plan as view


def run(options: Namespace) -> int:
    job = jobs.load(options)
    plan = _plan(job)
    if options.json:
        sys.stdout.write(output.one_json(view.to_json(job.spec.name, job.cluster, plan)))
    else:
        lines = view.page(job.spec.name, job.cluster, plan, width=columns(sys.stdout), paint=painter(sys.stdout))
        sys.stdout.write(output.lines(lines))
    if plan.fits is False:
        sys.stdout.flush()
        raise PlanError(
            f"{job.spec.name} does not fit on {job.cluster}",
            hint="a higher deepspeed.zero, deepspeed.offload, a smaller training.micro_batch or more nodes help",
        )
    return OK


def _plan(job: jobs.Job) -> Plan:
    try:
        check_secrets(job.spec, job.backend)
        return plan_job(job.spec, job.backend.probe(), job.job_dir)
    except JobError as error:
        raise job.place(error) from None
