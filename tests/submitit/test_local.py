"""Functions on the cluster `local`: what submitit's own executor does with them, and what orch does beyond that."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.local.local import LocalExecutor

from orchestrator.submitit import OrchExecutor, OrchJob
from tests.submitit import functions
from tests.submitit.conftest import agents, kill, lines, ranks, starts, until

TWO_TASKS = 2


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalExecutor]:
    """submitit's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it never takes leave of its processes
        yield LocalExecutor(tmp_path / "theirs")


def test_a_function_gives_what_it_gives_under_submitit(executor: OrchExecutor, local: LocalExecutor) -> None:
    ours, theirs = executor.submit(functions.add, 1, other=2), local.submit(functions.add, 1, other=2)
    assert ours.result() == theirs.result() == 3
    assert ours.results() == theirs.results() == [3]
    assert ours.exception() is theirs.exception() is None
    assert ours.done()
    assert ours.state == "COMPLETED"
    assert ours.num_tasks == theirs.num_tasks == 1
    assert ours.submission().args == theirs.submission().args == (1,)
    assert ours.stderr() == theirs.stderr() == "said to stderr\n"
    for said in (ours.stdout(), theirs.stdout()):
        assert "adding 1 and 2\n" in said
        assert "Job completed successfully\n" in said
    for job in (ours, theirs):
        assert pickle.loads(job.paths.result_pickle.read_bytes()) == ("success", 3)


def test_what_goes_wrong_is_told_in_submitits_words(executor: OrchExecutor, local: LocalExecutor) -> None:
    ours, theirs = executor.submit(functions.fail, "no good"), local.submit(functions.fail, "no good")
    unpicklable = executor.submit(functions.unpicklable), local.submit(functions.unpicklable)
    left = executor.submit(functions.leave, 0), local.submit(functions.leave, 0)
    nested = executor.submit(functions.submit_more, executor.folder)
    for job in (ours, theirs):
        with pytest.raises(FailedJobError, match=r"(?s)failed during processing with trace.*ValueError: no good"):
            job.result()
        assert isinstance(job.exception(), FailedJobError)
        assert "ValueError: no good" in job.stderr()
    for job in (*unpicklable, *left):
        job._results_timeout_s = 0  # how long they wait for a slow file system
    for job in unpicklable:  # submitit trips over its own temporary file and knows no more than "uncompleted"
        with pytest.raises(UncompletedJobError, match="cannot pickle 'generator' object"):
            job.result()
    assert isinstance(unpicklable[0].exception(), FailedJobError)
    for job in left:
        with pytest.raises(UncompletedJobError, match="has not produced any output"):
            job.result()
    with pytest.raises(FailedJobError, match="cannot submit to orch from within a job"):
        nested.result()
    assert ours.state == "FAILED"
    assert ours.get_info()["cause"] == "user_error"
    assert int(ours.get_info()["generation"]) == 2  # once more, for who knows; the same error again is the end


def test_every_task_knows_who_it_is_and_torch_finds_the_others(executor: OrchExecutor) -> None:
    executor.update_parameters(nodes=2, tasks_per_node=1, name="Who Am I?")
    job, total = executor.submit(functions.who_am_i), executor.submit(functions.sum_of_ranks)
    first, second = job.results()
    assert job.result() == first
    assert job.job_id.startswith("who-am-i-")
    told = {"job_id": job.job_id, "num_tasks": 2, "num_nodes": 2, "local_rank": 0, "cluster": "orch"}
    host = first["hostnames"][0]
    assert first == {**told, "node": 0, "global_rank": 0, "hostnames": [host] * 2, "pickle": job.paths.submitted_pickle}
    assert second == {**first, "node": 1, "global_rank": 1}
    assert job.task(1).result() == second
    assert [job.task(rank).paths.result_pickle.name for rank in range(2)] == [
        f"{job.job_id}_0_result.pkl",
        f"{job.job_id}_1_result.pkl",
    ]
    assert total.results() == [3, 3]


def test_the_error_is_that_of_the_task_that_raised_it(executor: OrchExecutor) -> None:
    executor.update_parameters(tasks_per_node=2)
    job = executor.submit(functions.fail_on_rank, 1)
    error = job.exception()
    assert isinstance(error, FailedJobError)
    assert "Job (task=1) failed" in str(error)
    assert "ValueError: rank 1 fails" in str(error)
    collateral = job.task(0).exception()
    assert type(collateral) is UncompletedJobError
    assert "ValueError: rank 1 fails" in str(collateral)
    with pytest.raises(FailedJobError, match="rank 1 fails"):
        job.result()


def test_map_array_and_batch_make_a_run_of_each_call(executor: OrchExecutor) -> None:
    mapped = executor.map_array(functions.add, [1, 2], [10, 20])
    with executor.batch():
        single = executor.submit(functions.add, 5)
        with pytest.raises(AttributeError):
            _ = single.job_id
    assert [job.result() for job in submitit.helpers.as_completed([single], poll_frequency=0.2)] == [5]
    assert [job.result() for job in mapped] == [11, 22]
    array = mapped[0].job_id.partition("_")[0]
    assert [job.job_id for job in mapped] == [f"{array}_0", f"{array}_1"]


def test_a_job_is_found_again_from_another_process(executor: OrchExecutor, tmp_path: Path) -> None:
    auto = submitit.AutoExecutor(tmp_path / "log" / "%j", cluster="orch")
    auto.update_parameters(timeout_min=5, mem_gb=1, gpus_per_node=0, orch_env={"WORD": "given"})
    job = auto.submit(functions.where)
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    program = f"""
import pickle, pathlib
from orchestrator.submitit import OrchJob
job = pickle.loads(pathlib.Path({str(tmp_path / "job.pkl")!r}).read_bytes())
print(job.result() == OrchJob({str(executor.folder)!r}, {job.job_id!r}).result() == ({str(Path.cwd())!r}, "given"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"


def test_a_checkpointable_goes_on_from_what_it_stored_last(executor: OrchExecutor, tmp_path: Path) -> None:
    log = tmp_path / "count.log"
    executor.update_parameters(nodes=2)
    job = executor.submit(functions.Counter(log), 100000, bonus=1000)
    submitted = until(lambda: job.paths.submitted_pickle.exists() and job.paths.submitted_pickle.read_bytes())
    until(lambda: "count 5" in lines(log))
    kill(agents(job)[1], signal.SIGTERM)  # as a preemption does: the machine is wanted
    until(lambda: len(starts(log)) == 2)
    stored = starts(log)[1]
    assert stored >= 5
    until(lambda: f"count {stored + 3}" in lines(log))
    kill(ranks(job)[0])  # nothing of this start is left to store: the one before counts
    until(lambda: len(starts(log)) == 3)
    log.with_suffix(".enough").touch()
    assert all(result >= 1000 + stored for result in job.results())
    assert starts(log) == [0, stored, stored]
    assert job.paths.submitted_pickle.read_bytes() == submitted
    assert job.get_info()["attempt"] == "2"


@pytest.mark.full
def test_a_function_that_cannot_be_checkpointed_begins_again_when_its_machine_is_wanted(
    executor: OrchExecutor, tmp_path: Path
) -> None:
    log = tmp_path / "count.log"
    job = executor.submit(functions.count, log, 20)
    until(lambda: "count 3" in lines(log))
    kill(agents(job)[0], signal.SIGTERM)
    assert job.result() == 20
    assert starts(log) == [0, 0]


@pytest.mark.full
def test_a_function_may_use_a_session_instead(executor: OrchExecutor, tmp_path: Path) -> None:
    log = tmp_path / "count.log"
    job = executor.submit(functions.train, log, 25)
    until(lambda: "count 5" in lines(log))
    kill(agents(job)[0], signal.SIGTERM)
    assert job.result() == 25
    assert len(starts(log)) == 2
    assert starts(log)[1] >= 5


SCRIPT = """
import submitit
env = submitit.JobEnvironment()
print("I am", env, env.hostnames)
"""


def test_a_script_of_an_ordinary_run_knows_who_it_is_too(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "who.py").write_text(SCRIPT)
    (tmp_path / "config.yaml").write_text("clusters: {here: {kind: local, device: cpu}}")
    (tmp_path / "job.yaml").write_text("{name: who, code: code, run: who.py, resources: {nodes: 2}}")
    orch = [sys.executable, "-m", "orchestrator"]
    env = {**os.environ, "ORCH_CONFIG": str(tmp_path / "config.yaml")}
    submit = [*orch, "submit", str(tmp_path / "job.yaml"), "-c", "here", "--wait"]
    subprocess.run(submit, env=env, check=True, capture_output=True, timeout=100)
    logs = subprocess.run([*orch, "logs", "who"], env=env, check=True, capture_output=True, text=True).stdout
    host = os.uname().nodename
    for rank in range(2):
        assert f"local_rank=0(1), node={rank}(2), global_rank={rank}(2)) {[host, host]}" in logs


PAGE = Path(__file__).resolve().parents[2] / "docs" / "submitit.md"


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(# train_tiny.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "train_tiny.py").write_text(program)
    command = [sys.executable, "train_tiny.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[100, 100]\n")


def test_what_has_had_its_time_ends_as_under_submitit(tmp_path: Path) -> None:
    executor = OrchExecutor(tmp_path / "log", max_num_timeout=1)
    executor.update_parameters(timeout_min=0.2)  # the start of its processes is part of it
    plain, deaf = executor.submit(functions.fail_on_rank, 1), executor.submit(functions.swallow_the_first, 60)
    log, none = tmp_path / "count.log", tmp_path / "none.log"
    counter, forgetful = functions.Counter(log), functions.NoCheckpoint(none)
    twice, never = executor.submit(counter, 1000), executor.submit(forgetful, 1000)
    for job, why in (
        (plain, "timed-out and not checkpointable"),
        (deaf, "timed-out and not checkpointable"),
        (twice, "timed-out too many times"),
        (never, "checkpoint function returned None"),
    ):
        with pytest.raises(FailedJobError, match=f"Job not requeued because: {why}"):
            job.result()
    assert (plain.state, twice.state, never.state) == ("TIMEOUT", "TIMEOUT", "FAILED")
    assert starts(log)[:1] in ([], [0]), "where the machine is busy, its time is over before it begins"
    assert len(starts(log)) <= 2


def test_a_cancelled_job_does_not_come_back(executor: OrchExecutor, tmp_path: Path) -> None:
    log = tmp_path / "count.log"
    job = executor.submit(functions.Counter(log), 1000)
    until(lambda: "count 2" in lines(log))
    until(lambda: job.get_info()["phase"] == "running")
    job.cancel()
    with pytest.raises(UncompletedJobError, match="state: CANCELLED"):
        job.result()
    assert len(starts(log)) == 1
    job.cancel()  # there is nothing left to ask


def test_what_cannot_be_submitted_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("clusters: {hpc: {kind: slurm}}\n")
    monkeypatch.setenv("ORCH_CONFIG", str(config))
    with pytest.raises(FailedSubmissionError, match="there is no cluster hcp"):
        OrchExecutor(tmp_path, cluster="hcp")
    with pytest.raises(FailedSubmissionError, match="shared_dir"):
        OrchExecutor(tmp_path / "log", cluster="hpc").submit(functions.add, 1)
    executor = OrchExecutor(tmp_path / "log", max_pickle_size_gb=0.0)
    with pytest.raises(RuntimeError, match="max_pickle_size_gb"):
        executor.submit(functions.add, 1)


def test_a_job_of_another_store_is_not_waited_for(tmp_path: Path) -> None:
    job: OrchJob[Any] = OrchJob(tmp_path, "nobody-knows-it")
    with pytest.raises(Exception, match="there is no run named nobody-knows-it"):
        job.done()
