"""The controller and a scheduler: how often it asks, and what it tells of a queue."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from orchestrator.controller import tick as controller
from orchestrator.model.bundle import Bundle
from orchestrator.model.run import Cause, Observation, Phase, Progress, Question, Report, Run, Submission
from orchestrator.policy.rules import Limits
from orchestrator.runs import submit as launch
from orchestrator.runs.dispatch import ANOTHERS_SECONDS
from orchestrator.views import events
from tests.controller.bench import QUICK, Bench, prepared
from tests.controller.scripted import Scripted

NEVER = 3600.0
TRAINING = Observation(phase=Phase.RUNNING, report=Report(attempt=1, progress=Progress(step=7)))


@pytest.fixture
def cluster(bench: Bench) -> Scripted:
    """A cluster that wants to be asked once an hour."""
    bench.backend = Scripted(pace=NEVER)
    return bench.backend


def tick(bench: Bench, times: int = 1) -> Run:
    for _ in range(times):
        controller.tick(bench.desk())
    return bench.run()


def told(bench: Bench) -> list[str]:
    return [events.sentence(event) for event in bench.store.events("tiny")]


def test_a_cluster_is_asked_at_its_own_pace(bench: Bench, cluster: Scripted) -> None:
    bench.submit(prepared())
    assert controller.tick(bench.desk()) == 1
    for _ in range(5):
        assert controller.tick(bench.desk()) == 1, "who is not asked about is unfinished all the same"
    assert cluster.observes == 1
    cluster.pace = 0.0
    tick(bench, 2)
    assert cluster.observes == 3


def test_nothing_is_decided_on_what_was_seen_before(bench: Bench, cluster: Scripted) -> None:
    bench.submit(prepared())
    tick(bench)
    cluster.otherwise = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    assert tick(bench, 3).phase is Phase.QUEUED


def test_a_new_run_a_cancel_and_a_resume_are_not_kept_waiting(bench: Bench, cluster: Scripted) -> None:
    bench.submit(prepared())
    bench.submit(prepared(name="other"))
    tick(bench, 2)
    launch.cancel_run(bench.store, "tiny")
    tick(bench, 2)
    assert (cluster.observes, cluster.cancels) == (2, [("tiny", False)])
    launch.cancel_run(bench.store, "tiny", now=True)
    tick(bench, 2)
    assert (cluster.observes, cluster.cancels[1:]) == (3, [("tiny", True)])
    bench.submit(prepared(name="third"))
    tick(bench, 2)
    assert cluster.observes == 4


def test_an_attempt_is_handed_over_when_it_is_due(bench: Bench, cluster: Scripted) -> None:
    bench.submit(prepared())
    cluster.otherwise = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    assert tick(bench, 5).attempt == 3, "each was asked about at once, for it was new"
    assert (cluster.submits, cluster.observes) == (["orch-tiny-1", "orch-tiny-2"], 3)
    bench.store.record("tiny", "postponed", {"not_before": time.time() - 1})
    tick(bench)
    assert cluster.submits[2:] == ["orch-tiny-3"]


class Slow(Scripted):
    """Something else happens while a job is submitted."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def submit(self, submission: Submission, bundle: Bundle, secrets: Mapping[str, str]) -> str:
        self.meanwhile()
        return super().submit(submission, bundle, secrets)


class Seen(Scripted):
    """Something else happens once while the cluster is asked."""

    meanwhile: Callable[[], object] | None = None

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        found = super().observe(questions)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return found


def test_a_cancel_in_the_middle_of_a_tick_is_followed_by_no_other_attempt(bench: Bench) -> None:
    bench.backend = cluster = Seen()
    bench.submit(prepared())
    tick(bench)
    cluster.otherwise = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    cluster.meanwhile = lambda: launch.cancel_run(bench.store, "tiny")
    tick(bench)
    assert cluster.submits == ["orch-tiny-1"]
    cluster.otherwise = Observation(phase=Phase.CANCELLED)
    cluster.says = {"tiny": Observation(phase=Phase.CANCELLED)}
    for _ in range(3):
        tick(bench)
    assert cluster.submits == ["orch-tiny-1"]
    assert bench.run().cancel_requested


SECRET = {"TOKEN": {"env": "MY_TOKEN"}}


def test_a_controller_without_the_secret_leaves_a_hand_over_to_the_command_that_has_it(bench: Bench) -> None:
    bench.backend = slow = Slow()
    slow.meanwhile = lambda: tick(bench, 2)
    run = launch.submit_run(bench.store, slow, prepared(secrets=SECRET), {"MY_TOKEN": "x"})
    assert (run.phase, bench.kinds()) == (Phase.QUEUED, ["submitted", "postponed", "handed_over"])
    assert "the command that has its secrets: TOKEN: the environment variable MY_TOKEN is not set" in told(bench)[1]
    run = tick(bench, 2)
    assert (run.phase, run.because, slow.cancels) == (Phase.QUEUED, "", [])


def test_a_run_is_stopped_when_the_command_that_has_its_secret_is_gone(bench: Bench) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    bench.backend = slow = Slow()
    slow.meanwhile = killed
    with pytest.raises(KeyboardInterrupt):
        launch.submit_run(bench.store, slow, prepared(secrets=SECRET), {"MY_TOKEN": "x"})
    run = tick(bench, 2)
    assert run.intended_at is not None
    assert (run.phase, run.not_before) == (Phase.PENDING, run.intended_at + ANOTHERS_SECONDS)
    bench.store.update({"tiny": {"not_before": time.time()}})
    run = tick(bench)
    assert (run.phase, run.cause) == (Phase.STOPPED, Cause.SECRET_MISSING)
    assert "MY_TOKEN is not set; set it and type: orch resume tiny" in run.because


def test_a_scheduler_that_does_not_answer_is_asked_once_in_a_tick(bench: Bench, cluster: Scripted) -> None:
    for name in ("one", "two", "three"):
        bench.submit(prepared(name=name))
    tick_all = bench.desk()
    controller.tick(tick_all)
    cluster.is_down = True
    cluster.otherwise = Observation(phase=Phase.STOPPED, cause=Cause.PREEMPTED)
    bench.cache.looks.clear()
    controller.tick(tick_all)
    assert len(cluster.submits) == 3 + 1
    assert [bench.run(name).phase for name in ("one", "two", "three")] == [Phase.PENDING] * 3


def test_a_cluster_that_is_lost_in_the_middle_of_a_tick_holds_it_up_once(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    for name in ("one", "two", "three"):
        bench.submit(prepared(name=name))
    bench.store.hold("local", "on02")
    cluster.otherwise = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    cluster.is_lost = True
    assert controller.tick(bench.desk()) == 3
    assert (cluster.reads, cluster.submits) == (1, [f"orch-{name}-1" for name in ("one", "two", "three")])
    cluster.is_lost = False
    controller.tick(bench.desk())
    assert sorted(cluster.submits[3:]) == ["orch-one-2", "orch-three-2", "orch-two-2"]


def test_a_cluster_is_not_asked_to_end_the_same_attempt_again_and_again(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    cluster.otherwise = TRAINING
    bench.submit(prepared())
    launch.cancel_run(bench.store, "tiny")
    bench.limits = Limits()
    run = tick(bench, 5)
    assert (cluster.cancels, run.phase) == ([("tiny", False)], Phase.STOPPING)
    assert bench.kinds().count("stopping") == 1, "a job that is still running was asked to stop all the same"
    launch.cancel_run(bench.store, "tiny", now=True)
    tick(bench, 5)
    assert cluster.cancels == [("tiny", False), ("tiny", True)]


def test_why_it_waits_is_told_when_it_changes(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    bench.submit(prepared())
    tick(bench)
    cluster.otherwise = Observation(phase=Phase.QUEUED, because="it can never start: the partition has 8 nodes")
    run = tick(bench, 3)
    assert run.because == "it can never start: the partition has 8 nodes"
    cluster.otherwise = Observation(phase=Phase.QUEUED)
    assert tick(bench, 3).because == ""
    assert told(bench)[2:] == ["queued: it can never start: the partition has 8 nodes", "queued"]


def test_a_job_that_is_suspended_is_told_of(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    bench.submit(prepared())
    for because in ("", "job 1 is suspended by Slurm", ""):
        cluster.otherwise = dataclasses.replace(TRAINING, because=because)
        assert tick(bench, 2).because == because
    assert told(bench)[2:] == ["running", "running: job 1 is suspended by Slurm", "running"]


def test_a_job_that_its_scheduler_queues_again_is_the_same_attempt(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    bench.submit(prepared())
    stopped = Report(attempt=1, result="stopped", because="Asked to stop by SIGUSR1; all ranks saved step 20 and left.")
    for phase, report, shown in (
        (Phase.STARTING, None, Phase.STARTING),
        (Phase.RUNNING, Report(attempt=1), Phase.RUNNING),
        (Phase.STARTING, stopped, Phase.RUNNING),  # its start has ended, and Slurm has not queued it again yet
        (Phase.QUEUED, Report(attempt=1), Phase.QUEUED),
        (Phase.STARTING, Report(attempt=1), Phase.STARTING),
        (Phase.RUNNING, Report(attempt=1), Phase.RUNNING),
    ):
        cluster.otherwise = Observation(phase=phase, report=report)
        run = tick(bench, 2)
        assert (run.phase, run.attempt) == (shown, 1)
    assert told(bench)[2:] == [
        "its processes started",
        "running",
        "queued again: Asked to stop by SIGUSR1; all ranks saved step 20 and left.",
        "its processes started",
        "running",
    ]


def test_a_heartbeat_from_before_a_requeue_is_no_hang(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    bench.submit(prepared())
    bench.limits = dataclasses.replace(QUICK, hung=0.0)

    def see(phase: Phase, beat: int) -> Run:
        cluster.otherwise = Observation(phase=phase, report=Report(attempt=1, generation=1, beat=beat))
        time.sleep(0.01)
        controller.tick(bench.desk())
        return bench.run()

    for phase, beat in ((Phase.RUNNING, 5), (Phase.RUNNING, 6), (Phase.QUEUED, 6), (Phase.STARTING, 6)):
        assert see(phase, beat).phase is phase
    see(Phase.RUNNING, 7)
    assert (see(Phase.RUNNING, 7).phase, bench.run().cause) == (Phase.STOPPING, Cause.HUNG)


def test_a_cancel_past_orch_ends_the_run(bench: Bench, cluster: Scripted) -> None:
    cluster.pace = 0.0
    bench.submit(prepared())
    cluster.otherwise = Observation(phase=Phase.CANCELLED, cause=Cause.CANCELLED, because="alice cancelled the job")
    run = tick(bench, 2)
    assert (run.phase, run.attempt, run.because) == (Phase.CANCELLED, 1, "alice cancelled the job")


def test_a_repeated_submission_hands_nothing_over_while_nobody_knows_how_the_first_one_stands(
    bench: Bench, cluster: Scripted
) -> None:
    cluster.is_down = True
    bench.submit(prepared())
    assert len(cluster.submits) == 1
    cluster.without_handle = Observation(phase=Phase.UNKNOWN)
    assert bench.submit(prepared()).phase is Phase.PENDING
    assert len(cluster.submits) == 1, "agents may run, and a refusal would be taken for the end"
    cluster.is_down, cluster.without_handle = False, Observation(phase=Phase.PENDING)
    assert bench.submit(prepared()).submission.handle == "2"
