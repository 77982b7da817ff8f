from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import JobError
from tests.planner.jobs import LAPTOP, gpus, job, llama, plan, script

COUNTS = st.integers(min_value=1, max_value=64)


@given(micro=COUNTS, accumulation=COUNTS, nodes=st.integers(1, 8), per_node=st.integers(1, 8), fixed=st.booleans())
def test_a_batch_always_multiplies_out(micro, accumulation, nodes, per_node, fixed):
    total = micro * accumulation * nodes * per_node
    spec = job(nodes=nodes, gpus_per_node=per_node, global_batch=total, micro_batch=micro if fixed else None, zero=2)
    batch = plan(spec, gpus(nodes, per_node)).batch
    assert batch.micro_batch * batch.accumulation * batch.data_parallel == total
    assert batch.data_parallel == nodes * per_node
    assert batch.micro_batch == micro or not fixed


@given(total=st.integers(1, 500), nodes=st.integers(1, 6), per_node=st.integers(1, 8))
def test_a_batch_that_cannot_be_divided_names_batches_that_can(total, nodes, per_node):
    world = nodes * per_node
    spec = job(nodes=nodes, gpus_per_node=per_node, global_batch=total, zero=2)
    if total % world == 0:
        assert plan(spec, gpus(nodes, per_node)).batch.global_batch == total
        return
    with pytest.raises(JobError) as caught:
        plan(spec, gpus(nodes, per_node))
    assert caught.value.field == "training.global_batch"
    named = [int(word) for word in caught.value.hint.rstrip(".").replace("Nearest that work: ", "").split(" and ")]
    assert named
    assert all(number % world == 0 and abs(number - total) < world for number in named)


def test_a_micro_batch_that_does_not_divide_names_its_neighbours():
    with pytest.raises(JobError) as caught:
        plan(job(nodes=2, global_batch=16, micro_batch=3))
    assert caught.value.field == "training.micro_batch"
    assert caught.value.hint == "Nearest that work: 2 and 4."


def test_the_micro_batch_is_the_largest_that_fits_the_gpu():
    spec = job(zero=3, gpus_per_node=8, global_batch=512, sequence_length=2048, precision="bf16")
    chosen = plan(spec, gpus(), llama("7b")).batch.micro_batch
    one_more = job(
        zero=3, gpus_per_node=8, global_batch=512, sequence_length=2048, precision="bf16", micro_batch=2 * chosen
    )
    assert plan(spec, gpus(), llama("7b")).fits is True
    assert plan(one_more, gpus(), llama("7b")).fits is False


def test_with_no_limit_known_the_micro_batch_holds_about_eight_thousand_tokens():
    spec = job(zero=2, gpus_per_node=8, global_batch=512, sequence_length=2048)
    assert plan(spec, gpus(gpu=None), llama("7b")).batch.micro_batch == 4


def test_on_a_cpu_a_micro_batch_does_not_fill_the_machine():
    assert plan(job(zero=0, global_batch=1024, sequence_length=1024), LAPTOP).batch.micro_batch == 8


def test_raw_accumulation_sets_the_micro_batch():
    batch = plan(job(nodes=2, global_batch=16, config={"gradient_accumulation_steps": 4})).batch
    assert (batch.micro_batch, batch.accumulation) == (2, 4)


def test_a_raw_triple_that_agrees_is_accepted():
    raw = {"train_batch_size": 16, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
    assert plan(job(nodes=2, global_batch=16, micro_batch=4, config=raw)).batch.accumulation == 2


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"train_batch_size": 32}, "train_batch_size"),
        ({"train_micro_batch_size_per_gpu": 2}, "train_micro_batch_size_per_gpu"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps"),
    ],
)
def test_a_raw_batch_key_that_contradicts_the_job_is_refused(raw, key):
    with pytest.raises(JobError) as caught:
        plan(job(nodes=2, global_batch=16, micro_batch=4, config=raw))
    assert caught.value.field == f"deepspeed.config.{key}"
    assert caught.value.hint


def test_a_global_batch_that_raw_accumulation_cannot_divide_is_refused():
    with pytest.raises(JobError) as caught:
        plan(job(nodes=2, global_batch=16, config={"gradient_accumulation_steps": 3}))
    assert caught.value.hint == "Nearest that work: 12 and 18."


def test_a_scripts_triple_may_leave_ranks_to_a_pipeline_that_says_so():
    raw = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
    with pytest.raises(JobError, match="is not micro-batch 4 x accumulation 2 x 2 data-parallel ranks, which is 16"):
        plan(script(raw, gpus_per_node=2))
    assert plan(script({**raw, "pipeline": {"stages": 2}}, gpus_per_node=2)).ds_config["train_batch_size"] == 8


def test_an_error_about_groups_of_ranks_names_the_key_that_asks_for_them():
    with pytest.raises(JobError) as caught:
        plan(script({"pipeline": {"stages": 3}}, gpus_per_node=8))
    assert caught.value.field == "deepspeed.config.pipeline.stages"


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ({"train_batch_size": 30}, "24 and 32"),
        ({"train_batch_size": 30, "gradient_accumulation_steps": 2}, "16 and 32"),
        ({"train_batch_size": 30, "train_micro_batch_size_per_gpu": 2}, "16 and 32"),
        ({"train_batch_size": 4}, "Nearest that work: 8."),
    ],
)
def test_a_scripts_batch_that_its_ranks_cannot_share_names_those_that_they_can(raw, hint):
    with pytest.raises(JobError) as caught:
        plan(script(raw, gpus_per_node=8))
    assert caught.value.field == "deepspeed.config.train_batch_size"
    assert hint in caught.value.hint


@pytest.mark.parametrize("total", [12, 24, 7])
def test_a_scripts_triple_that_no_number_of_ranks_explains_is_refused(total):
    raw = {"train_batch_size": total, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
    with pytest.raises(JobError) as caught:
        plan(script(raw, gpus_per_node=2))
    assert caught.value.field == "deepspeed.config.train_batch_size"


def test_sequence_parallel_ranks_share_a_batch_in_a_script_of_ones_own():
    plan(script({"sequence_parallel_size": 4, "train_batch_size": 8}, gpus_per_node=8))
    with pytest.raises(JobError, match="cannot be divided"):
        plan(script({"sequence_parallel_size": 3}, gpus_per_node=8))


def test_the_built_in_trainer_refuses_sequence_parallel_ranks():
    with pytest.raises(JobError, match="built-in trainer"):
        plan(job(config={"sequence_parallel_size": 2}, gpus_per_node=2))
