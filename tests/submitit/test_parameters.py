"""Parameters: submitit's names, what they are on a cluster, and those that mean nothing here."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.model.cluster import Profile
from orchestrator.submitit import parameters

SLURM = SlurmProfile(
    kind="slurm", shared_dir="/shared", memory_per_gpu=2**30, options=("--mail-type=END",), setup=("module load cuda",)
)


def asked(**given: Any) -> parameters.Asked:
    return parameters.read(parameters.check(given))


def changed(of: Profile, **given: Any) -> Profile:
    return parameters.changed("hpc" if of.kind == "slurm" else of.kind, of, asked(**given).changes)


def test_without_parameters_a_function_runs_once_on_a_cpu() -> None:
    plain = asked()
    assert (plain.nodes, plain.tasks_per_node, plain.timeout, plain.name) == (1, 1, None, "submitit")
    assert changed(Profile(kind="local")).device == "cpu"


def test_submitits_names_are_keys_of_the_profile() -> None:
    profile = changed(
        SLURM,
        nodes=2,
        tasks_per_node=8,
        gpus_per_node=8,
        timeout_min=90,
        mem_gb=64,
        cpus_per_task=4,
        slurm_partition="gpu",
        slurm_account="ml",
        slurm_qos="high",
        slurm_constraint="a100&ib",
        slurm_exclude="n1,n2",
        slurm_exclusive=True,
        slurm_setup=["module load nccl"],
        slurm_mail_user="me@example.org",
        slurm_additional_parameters={"gpu_bind": "closest", "contiguous": True},
    )
    assert (profile.time_limit, profile.memory, profile.memory_per_gpu) == ("90", 64 * 2**30, None)
    assert (profile.partition, profile.account, profile.qos, profile.constraint) == ("gpu", "ml", "high", "a100&ib")
    assert (profile.cpus_per_gpu, profile.exclusive, profile.exclude) == (4, True, ("n1", "n2"))
    assert profile.setup == ("module load cuda", "module load nccl")
    assert profile.options == (
        "--mail-type=END", "--mail-user=me@example.org", "--gpu-bind=closest", "--contiguous",
    )  # fmt: skip
    assert profile.device == "auto"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"slurm_time": 30}, {"timeout_min": 30}),
        ({"slurm_ntasks_per_node": 2}, {"tasks_per_node": 2}),
        ({"slurm_timeout_min": 30}, {"timeout_min": 30}),
        ({"slurm_job_name": "a"}, {"name": "a"}),
        ({"partition": "gpu"}, {"slurm_partition": "gpu"}),
        ({"nodes": None}, {}),
    ],
)
def test_names_that_mean_the_same_are_the_same(given: dict[str, Any], meant: dict[str, Any]) -> None:
    assert parameters.check(given) == parameters.check(meant)


@pytest.mark.parametrize(("size", "amount"), [("10GB", 10 * 2**30), ("512M", 2**29), ("100", 100 * 2**20)])
def test_sbatchs_memory_is_read(size: str, amount: int) -> None:
    assert changed(SLURM, slurm_mem=size).memory == amount


def test_what_a_kind_of_cluster_does_not_read_is_left_out() -> None:
    profile = changed(Profile(kind="local"), timeout_min=5, mem_gb=3, slurm_partition="gpu")
    assert profile == Profile(kind="local", device="cpu")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"nodez": 2}, "there is no parameter nodez; there are code, cpus_per_task"),
        ({"slurm_array_parallelism": 5}, "every call is a run of its own"),
        ({"slurm_comment": "mine"}, "orch finds its jobs by it"),
        ({"nodes": "2"}, "nodes is '2'; wanted int"),
        ({"nodes": True}, "nodes is True; wanted int"),
        ({"nodes": 0}, "nodes is 0; wanted at least 1"),
        ({"gpus_per_node": 8}, "gpus_per_node is 8 and tasks_per_node 1: orch starts one task for each GPU"),
        ({"slurm_mem": "much"}, "'much' is not an amount of memory"),
        ({"env": {"RANK": "0"}}, "env has RANK, which is set for each task"),
        ({"env": {"A B": "0"}}, "wanted a text under letters, digits"),
        ({"env": {"A": 1}}, "env has A: 1; wanted a text"),
    ],
)
def test_what_means_nothing_here_is_refused_with_the_reason(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        asked(**given)


@pytest.mark.parametrize(
    "given", [{"profile": {"partitoin": "x"}}, {"slurm_partition": "a b"}, {"profile": {"kind": "ssh"}}]
)
def test_what_no_profile_can_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="do not suit the cluster hpc"):
        changed(SLURM, **given)
