"""The attempt that follows another, and what an event records of the intention to submit it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.errors import StoreError
from orchestrator.job.protocol.encoding import to_json
from orchestrator.model.run import EventData, Run, Submission
from orchestrator.policy import nodes
from orchestrator.policy.nodes import NodeRecord


def next_submission(
    run: Run, *, from_step: int | None = None, from_scratch: bool = False, without: Sequence[NodeRecord] = ()
) -> Submission:
    """The submission of the attempt after the newest one, on other nodes than those `without` names.

    Raises StoreError for a run that has none.
    """
    return replace(
        submission_of(run),
        attempt=run.attempt + 1,
        handle=None,
        from_step=from_step,
        from_scratch=from_scratch,
        exclude=tuple(one.node for one in without),
    )


def submission_of(run: Run) -> Submission:
    """The newest submission of a run. Raises StoreError for a run that has none."""
    if run.submission is None:
        raise StoreError(f"{run.name} has no submission on record", hint="submit the job again under another name")
    return run.submission


def intention(submission: Submission, without: Sequence[NodeRecord] = ()) -> EventData:
    """What an event records of an intention to submit an attempt; `without` are the nodes that it excludes."""
    return {
        "left_out": nodes.to_json(without),
        "attempt": submission.attempt,
        "submission": to_json(submission),
        "from_step": submission.from_step,
        "from_scratch": submission.from_scratch,
    }
