"""Many submissions in one process: each is what one alone would be, and they wait for the cluster together."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier

import pytest

from orchestrator.errors import ClusterError, JobError, PlanError
from orchestrator.model.run import Cause, Phase, Run
from orchestrator.runs import submit as launch
from orchestrator.runs.prepare import Prepared
from tests.controller.bench import Bench, prepared
from tests.controller.scripted import Scripted


@pytest.fixture
def cluster(bench: Bench) -> Scripted:
    bench.backend = Scripted()
    return bench.backend


def jobs(*names: str) -> list[Prepared]:
    return [prepared(name=name) for name in names]


def submit(bench: Bench, given: list[Prepared] | Iterator[Prepared]) -> list[Run]:
    return launch.submit_runs(bench.store, bench.backend, given, bench.environment)


def handles(bench: Bench) -> dict[str, str | None]:
    return {run.name: run.submission.handle for run in bench.store.unfinished() if run.submission is not None}


@pytest.mark.parametrize("at_once", [1, 3])
def test_all_are_recorded_handed_over_and_answered_in_order(bench: Bench, cluster: Scripted, at_once: int) -> None:
    cluster.at_once = at_once
    names = [f"run-{number}" for number in range(8)]
    runs = submit(bench, jobs(*names))
    assert [run.name for run in runs] == names
    assert sorted(cluster.submits) == [f"orch-{name}-1" for name in names]
    assert sorted(handles(bench)) == names
    assert None not in handles(bench).values()
    for run in runs:
        assert bench.kinds(run.name) == ["submitted", "handed_over"]
        assert bench.run(run.name) == run


def test_hand_overs_wait_for_the_cluster_together(bench: Bench, cluster: Scripted) -> None:
    cluster.at_once = 3
    cluster.gate = Barrier(3)  # breaks after ten seconds if they come one by one
    assert len(submit(bench, jobs("one", "two", "three"))) == 3


def test_the_same_job_twice_is_one_run_and_one_hand_over(bench: Bench, cluster: Scripted) -> None:
    cluster.at_once = 2
    assert [run.name for run in submit(bench, jobs("one", "two", "one"))] == ["one", "two"]
    assert sorted(cluster.submits) == ["orch-one-1", "orch-two-1"]
    assert [run.name for run in submit(bench, jobs("one", "three"))] == ["one", "three"], "one was there: adopted"
    assert len(cluster.submits) == 3


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_refusal_of_one_is_told_and_the_others_are_on_record(bench: Bench, cluster: Scripted, at_once: int) -> None:
    cluster.at_once = at_once
    cluster.refuses = {"two"}
    with pytest.raises(ClusterError, match="invalid partition"):
        submit(bench, jobs("one", "two", "three"))
    assert (bench.run("two").phase, bench.run("two").cause) == (Phase.FAILED, Cause.REFUSED)
    assert set(handles(bench)) == {"one", "three"}
    assert None not in handles(bench).values()


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_was_begun_is_on_record_when_a_later_job_cannot_be_prepared(
    bench: Bench, cluster: Scripted, at_once: int
) -> None:
    def until_it_breaks() -> Iterator[Prepared]:
        yield from jobs("one", "two")
        raise PlanError("the plan does not fit")

    cluster.at_once = at_once
    with pytest.raises(PlanError):
        submit(bench, until_it_breaks())
    assert None not in handles(bench).values()
    assert set(handles(bench)) == {"one", "two"}


def test_a_name_that_is_taken_ends_it(bench: Bench, cluster: Scripted) -> None:
    submit(bench, jobs("one"))
    with pytest.raises(JobError, match="there is a run named one already"):
        submit(bench, [prepared(name="zero"), prepared(name="one", steps=99), prepared(name="two")])
    assert set(handles(bench)) == {"zero", "one"}


def test_silence_of_the_cluster_is_no_refusal(bench: Bench, cluster: Scripted) -> None:
    cluster.is_down = True
    runs = submit(bench, jobs("one", "two"))
    assert [run.phase for run in runs] == [Phase.PENDING] * 2
    assert handles(bench) == {"one": None, "two": None}
    assert all(bench.kinds(run.name) == ["submitted", "postponed"] for run in runs)
