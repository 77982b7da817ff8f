"""`orch submit`: start a run and print its name, or with --dry-run what would be sent."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from orchestrator.cli import context, output
from orchestrator.cli import job as jobs
from orchestrator.cli.terminal import columns, painter, say, warn
from orchestrator.controller.autostart import keep_controller
from orchestrator.errors import INTERRUPTED, OK
from orchestrator.runs import submit
from orchestrator.runs.prepare import Prepared
from orchestrator.store import Store


def run(options: Namespace) -> int:
    job = jobs.load(options)
    prepared = jobs.prepared(job, options.name, run_id=_run_id(job, options) if options.replace else None)
    for warning in prepared.warnings:
        warn(warning)
    if options.dry_run:
        return _dry_run(prepared, options)
    with context.store() as store:
        existing = store.find(prepared.spec.name)
        if existing is not None and options.replace:
            return _replace(store, job, prepared, options)
        started = submit.submit_run(
            store, job.backend, prepared, os.environ, from_scratch=options.from_scratch, bad_nodes=job.bad_nodes
        )
        keep_controller(store, wanted=context.starts_controllers())
        if existing is not None:
            say(f"{started.name} is under way already: adopted")
        return _answer(store, started.name, options)


def _run_id(job: jobs.Job, options: Namespace) -> str | None:
    """Of the run that has the job's name."""
    with context.store() as store:
        run = store.find(options.name or job.spec.name)
    return run.run_id if run is not None else None


def _replace(store: Store, job: jobs.Job, prepared: Prepared, options: Namespace) -> int:
    from orchestrator.cli.follow import follow

    name = prepared.spec.name
    before = store.get(name)

    def ended(name: str) -> bool:
        say(f"{name} is running another job: it saves and ends before it goes on with this one")
        return follow(store, name) != INTERRUPTED

    run = submit.replace_run(
        store,
        job.backend,
        prepared,
        os.environ,
        ended=ended,
        from_scratch=options.from_scratch,
        bad_nodes=job.bad_nodes,
    )
    keep_controller(store, wanted=context.starts_controllers())
    if run.attempt != before.attempt:
        say(f"{name} goes on with this job: attempt {run.attempt}")
        return _answer(store, name, options)
    if run.submission is not None and run.submission.digest != prepared.bundle.digest and run.cancel_requested:
        say(f"{name} is not replaced yet; the same command goes on with it")
        return INTERRUPTED
    say(f"{name} is under way already with this job: adopted")
    return _answer(store, name, options)


def _answer(store: Store, name: str, options: Namespace) -> int:
    """The name at once, or with --json the state: at the end with --wait."""
    if not options.json:
        print(name, flush=True)
    code = OK
    if options.wait:
        from orchestrator.cli.follow import follow

        code = follow(store, name)
    if options.json:
        from orchestrator.views import status

        sys.stdout.write(output.one_json(status.to_json(context.row(context.snapshot(store, name)))))
    return code


def _dry_run(prepared: Prepared, options: Namespace) -> int:
    from orchestrator.views import bundle as bundle_view
    from orchestrator.views import plan as plan_view

    name, cluster, plan = prepared.spec.name, prepared.cluster.name, prepared.plan
    if options.json:
        value = {
            "name": name,
            "run_id": prepared.run_id,
            "cluster": cluster,
            **bundle_view.to_json(prepared.bundle),
            "plan": plan_view.to_json(name, cluster, plan),
        }
        sys.stdout.write(output.one_json(value))
        return OK
    say("\n".join(plan_view.summary(name, cluster, plan, width=columns(sys.stderr), paint=painter(sys.stderr))))
    sys.stdout.write(output.lines(bundle_view.listing(prepared.bundle)))
    return OK
