"""As a plugin of submitit's, beside others that must not notice; and where results are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import submitit
from submitit.core.utils import JobPaths

from orchestrator.job.checkpoints.generations import write_claim
from orchestrator.job.protocol.files import generation_dir
from orchestrator.job.protocol.records import Claim
from orchestrator.job.tasks import pickles
from orchestrator.submitit import OrchExecutor, OrchJobEnvironment


def test_submitit_chooses_orch_only_when_it_is_asked_to(tmp_path: Path) -> None:
    assert submitit.AutoExecutor.which() != "orch"
    auto = submitit.AutoExecutor(tmp_path, cluster="local")
    auto.update_parameters(slurm_partition="gpu", orch_code=".", nodes=1)  # each is its own executor's alone
    assert "slurm_partition" not in auto.parameters


def test_through_auto_executor_the_clusters_name_and_orchs_own_parameters_are_prefixed(tmp_path: Path) -> None:
    auto = submitit.AutoExecutor(tmp_path, cluster="orch", orch_cluster="slurm", orch_max_num_timeout=7)
    auto.update_parameters(timeout_min=5, nodes=2, orch_profile={"partition": "high"}, slurm_partition="theirs")
    inner = auto._executor
    assert isinstance(inner, OrchExecutor)
    assert (inner.cluster, inner.max_num_timeout) == ("slurm", 7)
    assert inner.parameters == {"timeout_min": 5, "nodes": 2, "profile": {"partition": "high"}}
    with pytest.raises(NameError, match="orch_nonsense"):
        auto.update_parameters(orch_nonsense=1)


def test_outside_of_a_job_there_is_no_environment_of_orchs() -> None:
    assert not OrchJobEnvironment().activated()


def test_an_array_index_is_told_as_submitit_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMITIT_ORCH_JOB_ID", "mine-abc_3")
    env = OrchJobEnvironment()
    assert (env.job_id, env.array_job_id, env.array_task_id) == ("mine-abc_3", "mine-abc", "3")
    monkeypatch.setenv("SUBMITIT_ORCH_JOB_ID", "mine-abc")
    assert (env.job_id, env.array_job_id, env.array_task_id) == ("mine-abc", None, None)


def test_a_result_of_an_older_generation_does_not_count(tmp_path: Path) -> None:
    paths = JobPaths(tmp_path, "mine-abc", 1)
    root = pickles.root_of(paths)
    for number in (1, 2):
        claim = Claim(
            generation=number, run="mine-abc", run_id="1", attempt=1, start="1", nodes=1, address="", port=1, time=0.0
        )
        assert write_claim(root, claim)
    older, newer = (pickles.result_of(generation_dir(root, number), 1) for number in (1, 2))
    pickles.dump(("success", "late"), older)
    assert pickles.newest_result(paths) == newer
    with pytest.raises(FileNotFoundError):
        pickles.load_result(newer)
    pickles.dump(("success", "counts"), newer)
    assert pickles.load_result(pickles.newest_result(paths)) == ("success", "counts")


def test_a_published_result_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    result, name = tmp_path / "results" / "rank-0.pkl", tmp_path / "job_0_result.pkl"
    name.write_text("older")
    pickles.dump(("success", 1), result)
    pickles.publish(result, name)
    assert pickles.load_result(name) == ("success", 1)
    assert set(tmp_path.rglob("*")) == {name, result.parent, result}
