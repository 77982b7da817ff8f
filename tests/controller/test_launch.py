"""Run identity: one name is one run, and whoever is refused is told what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.clusters import open_backend
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.controller import tick
from orchestrator.errors import ClusterError, JobError
from orchestrator.model.run import Cause, Mark, Metrics, MetricsLine, Observation, Phase
from orchestrator.model.spec import Data, Model, Spec, Training
from orchestrator.runs import submit
from orchestrator.runs.dispatch import load_bundle, stage
from orchestrator.runs.prepare import prepare
from tests.controller.bench import Bench, prepared
from tests.controller.scripted import Scripted

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 320,
}


def spec(**changes: object) -> Spec:
    base = {
        "name": "tiny",
        "model": Model(config=LLAMA),
        "data": Data(files=("text.txt",), sequence_length=64),
        "training": Training(steps=10, precision="fp32"),
    }
    return Spec(**{**base, **changes})


def test_the_same_job_submitted_again_is_the_same_run(bench: Bench) -> None:
    first = bench.submit(prepared("train 0.2", steps=20))
    assert bench.submit(prepared("train 0.2", steps=20)).run_id == first.run_id
    assert bench.kinds().count("submitted") == 1


def test_another_job_of_the_same_name_is_refused(bench: Bench) -> None:
    bench.submit(prepared("train 0.2"))
    with pytest.raises(JobError, match="there is a run named tiny already") as error:
        bench.submit(prepared("train 0.3"))
    assert "--name" in (error.value.hint or "")


def test_a_run_that_has_ended_is_not_adopted(bench: Bench) -> None:
    bench.submit(prepared())
    bench.until_end()
    with pytest.raises(JobError, match="has ended already: succeeded") as error:
        bench.submit(prepared())
    assert str(error.value) == "the run tiny has ended already: succeeded"


def test_a_failed_run_is_refused_with_the_way_to_go_on(bench: Bench) -> None:
    bench.submit(prepared("mistake"))
    bench.until_end()
    with pytest.raises(JobError) as error:
        bench.submit(prepared("mistake"))
    assert "orch resume tiny" in (error.value.hint or "")


def test_a_missing_secret_is_named_before_anything_is_written(bench: Bench) -> None:
    with pytest.raises(JobError, match="NO_SUCH_TOKEN"):
        bench.submit(prepared(secrets={"TOKEN": {"env": "NO_SUCH_TOKEN"}}))
    with pytest.raises(JobError, match="/nowhere/token"):
        bench.submit(prepared(secrets={"TOKEN": {"file": "/nowhere/token"}}))
    assert bench.store.snapshots() == []
    assert not (bench.home / "runs").exists()


def test_a_cluster_that_cannot_be_submitted_to_leaves_no_run_behind(bench: Bench) -> None:
    backend = open_backend("hpc", SlurmProfile(kind="slurm"), bench.home)
    with pytest.raises(ClusterError):
        submit.submit_run(bench.store, backend, prepared(), bench.environment)
    assert bench.store.snapshots() == []


def test_a_run_directory_of_a_lost_store_is_not_taken_over_by_another_job(bench: Bench) -> None:
    place = bench.home / "runs" / "tiny"
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps({"run": "tiny", "run_id": "another"}))
    with pytest.raises(ClusterError, match="holds another run"):
        bench.submit(prepared())
    assert bench.run().phase is Phase.FAILED


def test_what_has_ended_cannot_be_cancelled_and_what_runs_cannot_be_resumed(bench: Bench) -> None:
    bench.submit(prepared("train 0.2"))
    with pytest.raises(JobError, match="has not ended"):
        submit.resume_run(bench.store, bench.backend, "tiny", bench.environment)
    bench.until_end()
    with pytest.raises(JobError, match="has ended already"):
        submit.cancel_run(bench.store, "tiny")


def test_preparing_twice_gives_the_same_bytes_and_the_same_id(bench: Bench) -> None:
    job_dir = str(bench.home.parent)
    one = prepare(spec(), bench.backend, job_dir=job_dir)
    two = prepare(spec(), bench.backend, job_dir=job_dir)
    assert (one.run_id, one.bundle.digest) == (two.run_id, two.bundle.digest)
    other = prepare(spec(), bench.backend, job_dir=job_dir, name="other")
    assert other.run_id != one.run_id
    assert not (bench.home / "runs").exists()


def test_a_staged_bundle_is_read_back_byte_for_byte(bench: Bench) -> None:
    bundle = prepared().bundle
    place = stage(bundle, bench.home / "runs" / "tiny")
    assert load_bundle(place, bundle.digest) == bundle
    with pytest.raises(JobError, match="not those that were submitted"):
        load_bundle(place, "another")
    place.write_bytes(b"")
    with pytest.raises(JobError, match="cannot be read"):
        load_bundle(place, bundle.digest)


def test_a_resume_without_a_secret_is_refused_and_spends_no_attempt(bench: Bench) -> None:
    bench.environment["MY_TOKEN"] = "x"
    bench.submit(prepared("mistake", secrets={"TOKEN": {"env": "MY_TOKEN"}}))
    before = bench.until_end()
    with pytest.raises(JobError, match="MY_TOKEN is not set") as refused:
        submit.resume_run(bench.store, bench.backend, "tiny", {})
    assert "orch resume tiny" in (refused.value.hint or "")
    assert (bench.run().attempt, bench.run().phase) == (before.attempt, before.phase)


def test_what_does_not_travel_is_told(bench: Bench, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").touch()
    (code / "data").symlink_to("/nowhere/else")
    script = Spec(name="tiny", run="train.py", code="code")
    made = prepare(script, bench.backend, job_dir=str(tmp_path))
    assert made.warnings[-1] == (
        "code: data is a symlink that leaves the directory, to /nowhere/else; it does not travel with the job"
    )


def test_a_store_may_be_moved_with_its_runs_under_way(bench: Bench, tmp_path: Path) -> None:
    bench.backend = Scripted()
    bench.submit(prepared())
    (bench.home / "runs").rename(tmp_path / "away")
    moved = Bench(Path(shutil.copytree(bench.home, tmp_path / "moved")))
    (tmp_path / "away").rename(moved.home / "runs")
    moved.backend = cluster = Scripted()
    cluster.otherwise = Observation(phase=Phase.FAILED, cause=Cause.NODE_LOST)
    cluster.news = Metrics(
        mark=Mark(generation=1, offset=9), lines=(MetricsLine({"step": 1, "loss": 2.0}, 1),), whole=True
    )
    tick.tick(moved.desk())
    assert cluster.submits == ["orch-tiny-2"], "handed over from the files in their new place"
    assert moved.run().metrics == str(tmp_path / "moved/runs/tiny/metrics.jsonl")
    line = json.loads((tmp_path / "moved/runs/tiny/metrics.jsonl").read_text())
    assert (line["step"], line["loss"]) == (1, 2.0)
    assert not (bench.home / "runs").exists()
    moved.store.close()


def test_a_home_that_cannot_be_written_to_keeps_no_run_from_its_end(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.backend = cluster = Scripted()
    bench.submit(prepared())
    (bench.home / "runs/tiny/metrics.jsonl").mkdir()
    cluster.news = Metrics(
        mark=Mark(generation=1, offset=9), lines=(MetricsLine({"step": 1, "loss": 2.0}, 1),), whole=True
    )
    for _ in range(3):
        tick.tick(bench.desk())
    assert caplog.text.count("its metrics cannot be kept here") == 1
    submit.cancel_run(bench.store, "tiny")
    tick.tick(bench.desk())
    assert cluster.cancels == [("tiny", False)]
