"""The controller with real processes: whatever becomes of them, the run ends as it should."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters import Backend
from orchestrator.clusters.hosts.local import LocalBackend
from orchestrator.controller import tick
from orchestrator.errors import JobError
from orchestrator.job.checkpoints import generations
from orchestrator.job.system import proc
from orchestrator.model.run import Cause, Mark, Metrics, Observation, Phase, Question
from orchestrator.runs import submit
from orchestrator.runs.dispatch import dispatch
from tests import log
from tests.controller.bench import PROFILE, QUICK, Bench, prepared


def test_a_run_succeeds_when_its_job_left_the_marker(bench: Bench) -> None:
    bench.submit(prepared())
    run = bench.until_end()
    assert (run.phase, run.cause, run.progress.step, run.attempt) == (Phase.SUCCEEDED, Cause.COMPLETED, 6, 1)
    assert bench.kinds()[:2] == ["submitted", "handed_over"]
    assert bench.kinds()[-1] == "succeeded"


def test_the_metrics_of_a_run_are_mirrored_one_line_a_step_in_order(bench: Bench) -> None:
    bench.submit(prepared("once", steps=9))
    run = bench.until_end()
    rows = [json.loads(line) for line in Path(run.metrics).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert {row["generation"] for row in rows} == {2}


def test_an_attempt_whose_agents_were_killed_is_followed_by_another(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=15))
    bench.until(lambda run: (run.progress.step or 0) >= 2)
    for pid in bench.agents():
        proc.send(pid, signal.SIGKILL)
    run = bench.until_end()
    assert (run.phase, run.attempt, run.generation) == (Phase.SUCCEEDED, 2, 2)
    lost = next(event for event in bench.store.events("tiny") if event.kind == "lost")
    assert lost.data["cause"] == "agent_lost"


class Slip(LocalBackend):
    """Passes on a line of metrics without a step, of one run."""

    def observe(self, questions: Sequence[Question]) -> Mapping[str, Observation]:
        odd = Metrics(mark=Mark(generation=1, offset=9), lines=({"loss": 2.0},), whole=True)
        seen = super().observe(questions)
        return {run: dataclasses.replace(one, metrics=odd) if run == "odd" else one for run, one in seen.items()}


def test_a_bug_that_one_run_meets_harms_no_other(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.backend = Slip("local", PROFILE, bench.home)
    bench.submit(prepared("train 0.05", name="odd"))
    bench.submit(prepared("train 0.1", steps=20))
    with log.to_stderr():
        assert bench.until_end().phase is Phase.SUCCEEDED
    told = capsys.readouterr().err
    assert told.count("ERROR run=odd cluster=local a bug in orch: TypeError: must be called") == 1, (
        "once, however often"
    )
    assert "in write" in told


def test_an_attempt_that_could_be_started_in_part_only_is_no_refusal_and_goes_on_when_the_rest_can(
    bench: Bench,
) -> None:
    blocked = bench.home / "runs/tiny/attempts/000001/agent-1.log"
    blocked.mkdir(parents=True)
    run = bench.submit(prepared("train 0.1", steps=20))
    assert run.phase is Phase.PENDING
    assert "attempt 1 of tiny has begun, and not all of it" in run.because
    assert len(bench.agents()) == 1
    blocked.rmdir()
    run = bench.until_end()
    assert (run.phase, run.attempt) == (Phase.SUCCEEDED, 1)
    assert bench.starts() == 2


def test_half_of_an_attempt_that_lives_on_is_ended_before_another_begins(bench: Bench) -> None:
    bench.limits = dataclasses.replace(QUICK, partial=3.0)
    bench.submit(prepared("freeze"))
    bench.until(lambda run: (run.progress.step or 0) >= 3 and bench.starts() == 2)
    survivors = bench.agents()
    proc.send(int(json.loads((bench.home / "runs/tiny/attempts/000001/lock-1").read_text())["pid"]), signal.SIGKILL)
    run = bench.until_end()
    assert (run.phase, run.attempt) == (Phase.SUCCEEDED, 2)
    assert not any(proc.carries(pid, f"ORCH_HOME={bench.home}") for pid in survivors)
    assert "stopping" in bench.kinds()


def test_an_attempt_without_heartbeats_is_killed_even_where_it_is_stopped_by_a_signal(bench: Bench) -> None:
    bench.limits = dataclasses.replace(QUICK, hung=3.0)
    bench.submit(prepared("train 0.1", nodes=1, steps=30))
    bench.until(lambda run: (run.progress.step or 0) >= 1)
    for pid in bench.agents():
        proc.send(pid, signal.SIGSTOP)
    run = bench.until_end()
    assert (run.phase, run.attempt) == (Phase.SUCCEEDED, 2)
    assert any(event.data.get("cause") == "hung" for event in bench.store.events("tiny"))


def test_a_mistake_in_the_job_is_not_tried_again(bench: Bench) -> None:
    bench.submit(prepared("mistake"))
    run = bench.until_end()
    assert (run.phase, run.cause, run.attempt) == (Phase.FAILED, Cause.USER_ERROR, 1)
    assert run.first_error is not None


def test_a_hopeless_run_fails_after_its_failures_are_spent(bench: Bench) -> None:
    bench.submit(prepared("break", max_failures=2))
    run = bench.until_end()
    assert (run.phase, run.cause, run.attempt) == (Phase.FAILED, Cause.RANK_KILLED, 3)
    assert "3 failures in a row" in run.because


def test_a_stop_that_nobody_asked_orch_for_costs_no_failure(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", max_failures=0, steps=15))
    bench.until(lambda run: (run.progress.step or 0) >= 1)
    for pid in bench.agents():
        proc.send(pid, signal.SIGTERM)
    run = bench.until_end()
    assert (run.phase, run.attempt, run.failures) == (Phase.SUCCEEDED, 2, 0)


def test_a_cancelled_run_may_save_and_leaves_no_process(bench: Bench) -> None:
    bench.submit(prepared("train 0.1", steps=1000))
    bench.until(lambda run: (run.progress.step or 0) >= 1)
    submit.cancel_run(bench.store, "tiny")
    run = bench.until_end()
    assert (run.phase, run.cause) == (Phase.CANCELLED, Cause.CANCELLED)
    assert bench.agents() == []
    outcome = json.loads((bench.home / "runs/tiny/ckpt/generations/000001/outcome.json").read_text())
    assert outcome["result"] == "stopped"


def test_a_cancel_of_a_job_that_does_not_listen_becomes_a_kill(bench: Bench) -> None:
    bench.submit(prepared("freeze"))
    bench.until(lambda run: (run.progress.step or 0) >= 3)
    submit.cancel_run(bench.store, "tiny")
    began = time.monotonic()
    assert bench.until_end().phase is Phase.CANCELLED
    assert time.monotonic() - began > 2  # the job's own grace
    assert bench.agents() == []


def test_a_cancelled_run_can_be_resumed(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", steps=15))
    bench.until(lambda run: (run.progress.step or 0) >= 1)
    submit.cancel_run(bench.store, "tiny", now=True)
    assert bench.until_end().phase is Phase.CANCELLED
    submit.resume_run(bench.store, bench.backend, "tiny", bench.environment)
    run = bench.until_end()
    assert (run.phase, run.attempt) == (Phase.SUCCEEDED, 2)
    with pytest.raises(JobError, match="is complete"):
        submit.resume_run(bench.store, bench.backend, "tiny", bench.environment)


def test_a_secret_that_is_gone_stops_the_run_and_a_resume_brings_it_back(bench: Bench) -> None:
    bench.environment["MY_TOKEN"] = "hush-0815"
    bench.submit(prepared("once", secrets={"TOKEN": {"env": "MY_TOKEN"}}))
    bench.environment.pop("MY_TOKEN")
    run = bench.until_end()
    assert (run.phase, run.cause) == (Phase.STOPPED, Cause.SECRET_MISSING)
    assert "MY_TOKEN" in run.because
    submit.resume_run(bench.store, bench.backend, "tiny", {**bench.environment, "MY_TOKEN": "hush-0815"})
    assert bench.until_end().phase is Phase.SUCCEEDED
    log = (bench.home / "runs/tiny/attempts/000003/agent-0.log").read_text()
    assert "token True" in log
    written = [path for path in bench.home.rglob("*") if path.is_file() and b"hush-0815" in path.read_bytes()]
    assert written == []


def test_a_checkpoint_directory_of_another_run_is_refused(bench: Bench) -> None:
    place = bench.home.parent / "shared"
    place.mkdir()
    (place / "owner.json").write_text(json.dumps({"run": "other", "run_id": "123"}))
    with pytest.raises(JobError, match="belongs to the run other"):
        bench.submit(prepared(checkpoint_dir=str(place)))
    assert bench.store.snapshots() == []


def test_a_run_that_another_start_overtook_asks_its_user(bench: Bench) -> None:
    bench.submit(prepared("freeze", nodes=1))
    bench.until(lambda run: (run.progress.step or 0) >= 3)
    root = bench.home / "runs/tiny/ckpt/generations"
    claim = json.loads((root / "000001.json").read_text())
    (root / "000002.json").write_text(json.dumps({**claim, "generation": 2, "attempt": 7}))
    for pid in bench.agents():
        proc.send(pid, signal.SIGKILL)
    run = bench.until_end()
    assert (run.phase, run.cause) == (Phase.STOPPED, Cause.FENCED)


def test_events_say_why_each_start_of_an_attempt_was_followed_by_another(bench: Bench) -> None:
    bench.submit(prepared("freeze", nodes=1))
    bench.until(lambda run: (run.progress.step or 0) >= 3)
    root = bench.home / "runs/tiny/ckpt/generations"
    because = "Rank 1 on node 1 was killed by SIGKILL."
    end_of_generation(root, 1, {"result": "failed", "cause": "rank_killed", "because": because})
    end_of_generation(root, 2, None)
    end_of_generation(root, 3, {"result": "failed", "cause": "network", "because": "The network is gone."})
    for _ in range(2):  # nobody looked in between; the second one is a controller that was started again
        bench.cache = tick.TickCache()
        tick.tick(bench.desk())
    told = [event for event in bench.store.events("tiny") if event.kind.startswith("generation")]
    assert [(event.kind, event.data["generation"]) for event in told] == [
        ("generation", 1),
        ("generation_ended", 1),
        ("generation", 2),
        ("generation_ended", 2),
        ("generation", 3),
        ("generation_ended", 3),
        ("generation", 4),
    ]
    ends = [event.data for event in told if event.kind == "generation_ended"]
    assert [end["result"] for end in ends] == ["failed", None, "failed"]
    assert [end["ended_by"] for end in ends] == ["rank_killed", None, "network"]
    assert [end["ended_because"] for end in ends] == [because, "", "The network is gone."]
    run = bench.run()
    assert (run.generation, run.cause, run.because) == (4, Cause.NONE, "")


def test_how_the_last_start_of_an_attempt_ended_is_told_once_by_the_end_of_the_attempt(bench: Bench) -> None:
    bench.submit(prepared("once"))
    assert bench.until_end().generation == 2
    assert "generation_ended" not in bench.kinds()
    assert bench.kinds().count("lost") == 1


def end_of_generation(root: Path, number: int, outcome: Mapping[str, Any] | None) -> None:
    """A generation ends with an outcome, or leaves none, and the same attempt claims the next one."""
    if outcome is not None:
        (root / f"{number:06d}" / "outcome.json").write_text(json.dumps(outcome))
    claim = json.loads((root / "000001.json").read_text())
    (root / f"{number + 1:06d}").mkdir()
    (root / f"{number + 1:06d}.json").write_text(json.dumps({**claim, "generation": number + 1}))


def test_job_files_that_were_lost_end_that_run_and_no_other(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", name="one", steps=15))
    bench.submit(prepared("once", name="two"))
    for path in (bench.home / "runs/one").glob("bundle-*.zip"):
        path.unlink()
    for pid in bench.agents("one"):
        proc.send(pid, signal.SIGKILL)
    run = bench.until_end("one")
    assert (run.phase, run.cause) == (Phase.FAILED, Cause.REFUSED)
    assert bench.until_end("two").phase is Phase.SUCCEEDED


def test_a_hand_over_that_comes_after_the_runs_end_leaves_nothing_running(bench: Bench) -> None:
    run = bench.submit(prepared("train 0.1", steps=1000))
    bench.store.record("tiny", "failed", {"cause": "unknown"})
    assert run.submission is not None
    late = dataclasses.replace(run, submission=dataclasses.replace(run.submission, handle=None))
    dispatch(bench.store, bench.backend, late, bench.environment)
    assert bench.agents() == []


def test_a_hand_over_that_fails_late_says_nothing_of_an_attempt_that_another_one_started(bench: Bench) -> None:
    bench.environment["MY_TOKEN"] = "x"
    run = bench.submit(prepared("train 0.1", steps=1000, nodes=1, secrets={"TOKEN": {"env": "MY_TOKEN"}}))
    assert run.submission is not None
    late = dataclasses.replace(run, submission=dataclasses.replace(run.submission, handle=None))
    without_secret = {name: value for name, value in bench.environment.items() if name != "MY_TOKEN"}
    assert dispatch(bench.store, bench.backend, late, without_secret) == run
    Path(run.submission.bundle_file).unlink()
    assert dispatch(bench.store, bench.backend, late, bench.environment) == run
    assert bench.kinds() == ["submitted", "handed_over"]
    assert len(bench.agents()) == 1


def test_what_its_user_asked_for_is_not_lost_with_an_attempt_that_never_started(bench: Bench) -> None:
    job = prepared("stillborn", nodes=1)
    submit.submit_run(bench.store, bench.backend, job, bench.environment, from_scratch=True)
    run = bench.until_end()
    assert (run.phase, run.attempt, run.from_scratch) == (Phase.SUCCEEDED, 2, True)
    claim = generations.newest_claim(run.checkpoint_dir)
    assert claim is not None
    assert (claim.generation, claim.attempt, claim.asked) == (1, 2, "from-scratch")


def test_what_its_user_asked_for_is_done_once(bench: Bench) -> None:
    job = prepared("once", nodes=1)
    submit.submit_run(bench.store, bench.backend, job, bench.environment, from_scratch=True)
    run = bench.until_end()
    assert (run.phase, run.attempt, run.from_scratch) == (Phase.SUCCEEDED, 2, False)
    assert [claim.asked for claim in generations.claims(run.checkpoint_dir)] == ["from-scratch", None]


def test_one_resume_is_enough_where_the_failures_were_spent_without_a_word(bench: Bench) -> None:
    bench.submit(prepared("train 0.2", nodes=1, steps=15, max_failures=0))
    bench.until(lambda run: (run.progress.step or 0) >= 1)
    for pid in bench.agents():
        proc.send(pid, signal.SIGKILL)
    run = bench.until_end()
    assert (run.phase, run.cause, run.attempt) == (Phase.FAILED, Cause.AGENT_LOST, 1)
    submit.resume_run(bench.store, bench.backend, "tiny", bench.environment)
    run = bench.until_end()
    assert (run.phase, run.attempt, run.generation) == (Phase.SUCCEEDED, 2, 2)


def test_a_cluster_that_left_the_configuration_leaves_its_runs_unknown(bench: Bench) -> None:
    bench.submit(prepared("train 0.05", steps=20))

    def gone(name: str) -> Backend:
        raise JobError(f"there is no cluster {name}")

    tick.tick(dataclasses.replace(bench.desk(), backend=gone))
    assert (bench.run().phase, bench.run().because) == (Phase.UNKNOWN, "there is no cluster local")
    assert bench.until_end().phase is Phase.SUCCEEDED


def test_what_is_remembered_of_a_run_is_forgotten_when_it_has_ended(bench: Bench) -> None:
    bench.submit(prepared("mistake", name="short"))
    bench.submit(prepared("train 0.2", name="long"))
    bench.until_end("short")
    bench.until(lambda run: run.progress.step is not None, name="long")
    assert set(bench.cache.runs) == {"long"}
    bench.until_end("long")
    bench.until(lambda run: not bench.cache.runs, name="long")
    assert (bench.cache.looks, bench.cache.bugs) == ({}, {})
