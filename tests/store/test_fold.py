"""Properties of the fold, over histories of any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.codec import dump, load
from orchestrator.model.fold import KINDS, fold, replay
from orchestrator.model.run import Cause, Event, Phase, Run, Submission

SUBMITTED = Event(
    run="a",
    kind="submitted",
    at=1.0,
    data={"run_id": "i", "cluster": "local", "spec_digest": "d", "dir": "/d", "checkpoint_dir": "/c", "metrics": "/m"},
)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "attempt": st.integers(1, 9),
        "cause": st.sampled_from([cause.value for cause in Cause]),
        "because": st.text(max_size=20),
        "failures": st.integers(0, 9),
        "step": st.none() | st.integers(0, 99),
        "checkpoint": st.none() | st.just({"step": 2, "path": "p", "proven": True}),
        "unheard_of": st.integers(),
    },
)
EVENTS = st.lists(
    st.builds(
        Event,
        run=st.just("a"),
        kind=st.sampled_from([*KINDS, "something_newer"]),
        at=st.floats(1, 9),
        data=DATA,
    ),
    max_size=12,
)


@given(EVENTS)
def test_a_run_that_ended_changes_by_resumed_only(events: list[Event]) -> None:
    run = replay([SUBMITTED])
    assert run is not None
    for event in events:
        after = fold(run, event)
        if run.phase.ended and event.kind != "resumed":
            assert after is run
        assert (after.ended_at is not None) == after.phase.ended
        run = after


@given(EVENTS)
def test_a_run_survives_its_way_to_the_file_and_back(events: list[Event]) -> None:
    run = replay([SUBMITTED, *events])
    assert run is not None
    assert load(Run, dump(run)) == run


def test_a_submission_survives_its_way_to_the_file_and_back() -> None:
    submission = Submission(
        run="a",
        run_id="i",
        attempt=2,
        cluster="local",
        digest="d",
        dir="/d",
        checkpoint_dir="/c",
        bundle_file="/b",
        nodes=2,
        handle="h",
        from_step=3,
    )
    run = Run(
        name="a",
        run_id="i",
        cluster="local",
        spec_digest="d",
        dir="/d",
        checkpoint_dir="/c",
        metrics="/m",
        submitted_at=1.0,
        phase=Phase.QUEUED,
        submission=submission,
    )
    assert load(Run, dump(run)) == run
