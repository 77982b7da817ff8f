from __future__ import annotations

import pytest

from orchestrator.errors import JobError
from tests.planner.jobs import GIB, LAPTOP, gpus, job, llama, plan, script


def big(**rest):
    return job(gpus_per_node=8, global_batch=64, sequence_length=2048, precision="bf16", **rest)


def test_the_lowest_stage_that_fits_is_chosen_and_each_lower_one_is_rejected_with_figures():
    made = plan(big(zero="auto"), gpus(), llama("7b"))
    assert (made.zero_stage, made.offload, made.fits) == (1, "none", True)
    assert made.because[0].startswith("Not ZeRO 0: it needs ")
    assert "80.0 GiB" in made.because[0]
    assert made.because[1].startswith("ZeRO 1 is the first that fits: ")


def test_less_memory_leads_to_a_higher_stage():
    stages = [plan(big(zero="auto"), gpus(gpu=size * GIB), llama("7b")).zero_stage for size in (160, 80, 60, 40)]
    assert stages == sorted(stages)
    assert stages[0] == 0
    assert stages[-1] == 3


def test_offload_comes_after_every_stage_without_it():
    made = plan(big(zero="auto", offload="auto", gradient_checkpointing=True), gpus(gpu=40 * GIB), llama("33b"))
    assert (made.zero_stage, made.offload, made.fits) == (3, "cpu", True)
    assert [line.split(":")[0] for line in made.because[:5]] == [
        "Not ZeRO 0",
        "Not ZeRO 1",
        "Not ZeRO 2",
        "Not ZeRO 3",
        "Not ZeRO 2 with offload to cpu",
    ]


def test_offload_that_the_host_cannot_hold_does_not_fit():
    made = plan(big(zero=3, offload="cpu", gradient_checkpointing=True), gpus(host=512 * GIB), llama("33b"))
    assert made.fits is False
    assert any("a host" in line for line in made.because)


def test_nvme_is_tried_last_and_only_with_a_path():
    small = gpus(gpu=40 * GIB, host=128 * GIB)
    made = plan(big(zero="auto", offload="auto", nvme_path="/nvme", gradient_checkpointing=True), small, llama("33b"))
    assert (made.zero_stage, made.offload, made.fits) == (3, "nvme", True)
    assert made.ds_config["zero_optimization"]["offload_optimizer"]["nvme_path"] == "/nvme"
    assert plan(big(zero="auto", offload="auto", gradient_checkpointing=True), small, llama("33b")).fits is False


def test_when_nothing_fits_the_nearest_is_planned_and_does_not_fit():
    made = plan(big(zero="auto"), gpus(gpu=16 * GIB), llama("70b"))
    assert (made.zero_stage, made.fits) == (3, False)
    assert "ZeRO 3 comes nearest." in made.because


def test_recomputing_is_suggested_where_it_would_fit():
    made = plan(big(zero=3, micro_batch=1), gpus(), llama("33b"))
    assert made.fits is False
    assert any(line.startswith("training.gradient_checkpointing: true would fit") for line in made.because)


def test_with_no_limit_known_the_default_is_said_to_be_one():
    made = plan(big(zero="auto"), gpus(gpu=None), llama("7b"))
    assert (made.zero_stage, made.fits) == (2, None)
    assert made.because[0] == "ZeRO 2 by default: memory or model size is not known."


def test_a_known_host_does_not_make_up_for_an_unknown_gpu():
    assert plan(big(zero="auto"), gpus(gpu=None, host=2048 * GIB), llama("7b")).zero_stage == 2


def test_a_model_of_unknown_size_is_planned_without_memory():
    made = plan(big(zero="auto"), gpus(), None)
    assert (made.zero_stage, made.fits, made.memory, made.checkpoint_bytes) == (2, None, None, None)


def test_a_script_of_ones_own_gets_a_stage_that_a_pipeline_can_use():
    assert plan(script()).zero_stage == 1


def test_a_gpus_memory_follows_from_its_name():
    from dataclasses import replace

    cluster = replace(gpus(gpu=None), gpu="A100-80GB")
    assert plan(big(zero=3), cluster, llama("7b")).memory.rank_limit == 79 * GIB


def test_more_nodes_than_the_cluster_has_do_not_fit():
    made = plan(big(nodes=4, zero=2), gpus(nodes=2), llama("7b"))
    assert made.fits is False
    assert made.because[0] == "The job wants 4 nodes and hpc has 2."


def test_more_gpus_a_node_than_there_are_do_not_fit():
    assert plan(job(gpus_per_node=8, zero=2), gpus(per_node=4)).because[0] == (
        "The job wants 8 GPUs a node and hpc has 4."
    )


def test_a_laptop_has_as_many_ranks_as_one_asks_for():
    assert plan(job(nodes=2, gpus_per_node=2, zero=2, precision="fp32"), LAPTOP).fits is True


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (job(zero=0, offload="cpu"), "deepspeed.offload"),
        (job(zero=2, offload="nvme", nvme_path="/nvme"), "deepspeed.offload"),
        (job(zero=3, offload="nvme"), "deepspeed.nvme_path"),
        (
            job(zero=0, config={"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}),
            "deepspeed.config.zero_optimization.offload_optimizer",
        ),
        (
            job(zero=2, config={"zero_optimization": {"offload_param": {"device": "cpu"}}}),
            "deepspeed.config.zero_optimization.offload_param",
        ),
        (
            job(config={"zero_optimization": {"stage": 1, "offload_param": {"device": "cpu"}}}),
            "deepspeed.config.zero_optimization.offload_param",
        ),
        (
            job(zero=3, config={"zero_optimization": {"offload_param": {"device": "nvme"}}}),
            "deepspeed.nvme_path",
        ),
        (
            job(zero=2, config={"zero_optimization": {"stage": 3}}),
            "deepspeed.config.zero_optimization.stage",
        ),
        (
            job(zero=3, offload="cpu", config={"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}),
            "deepspeed.config.zero_optimization.offload_optimizer.device",
        ),
    ],
)
def test_what_deepspeed_accepts_and_does_not_do_is_refused(spec, field):
    with pytest.raises(JobError) as caught:
        plan(spec)
    assert caught.value.field == field
    assert caught.value.hint


def test_a_raw_stage_fills_what_the_job_leaves_open():
    made = plan(job(config={"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}))
    assert (made.zero_stage, made.offload) == (3, "cpu")
    assert "offload_param" not in made.ds_config["zero_optimization"]


def test_a_raw_offload_of_parameters_alone_leads_to_stage_three():
    made = plan(job(config={"zero_optimization": {"offload_param": {"device": "cpu"}}}))
    assert made.zero_stage == 3
