from __future__ import annotations

import sys

import pytest

from orchestrator.errors import JobError
from tests.planner.jobs import checked as check
from tests.planner.jobs import job, plan, script, warned

# Every key of the guide's two configurations, ZeRO-2 and ZeRO-3 with offload.
GUIDE_ZERO_2 = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": 1.0,
    "wall_clock_breakdown": False,
    "zero_optimization": {
        "stage": 2,
        "allgather_partitions": True,
        "allgather_bucket_size": 5e8,
        "overlap_comm": True,
        "reduce_scatter": True,
        "reduce_bucket_size": 5e8,
        "contiguous_gradients": True,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
    },
    "fp16": {
        "enabled": True,
        "loss_scale": 0,
        "loss_scale_window": 1000,
        "initial_scale_power": 16,
        "hysteresis": 2,
        "min_loss_scale": 1,
    },
}
GUIDE_ZERO_3 = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 4,
    "gradient_clipping": 1.0,
    "wall_clock_breakdown": False,
    "bf16": {"enabled": True},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": 5e8,
        "stage3_prefetch_bucket_size": 5e8,
        "stage3_param_persistence_threshold": 1e6,
        "stage3_max_live_parameters": 1e9,
        "stage3_max_reuse_distance": 1e9,
        "stage3_gather_16bit_weights_on_model_save": True,
        "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme", "pin_memory": True},
        "offload_param": {"device": "cpu", "pin_memory": True},
    },
}


def leaves(mapping, path=()):
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


GUIDE_LEAVES = sorted({path: value for guide in (GUIDE_ZERO_2, GUIDE_ZERO_3) for path, value in leaves(guide)}.items())


@pytest.mark.parametrize(
    ("guide", "precision"), [(GUIDE_ZERO_2, "fp16"), (GUIDE_ZERO_3, "bf16")], ids=["zero2", "zero3"]
)
def test_the_guides_configurations_reach_deepspeed_whole(guide, precision):
    config = plan(job(config=guide, precision=precision, nodes=2, global_batch=16)).ds_config
    for path, value in leaves(guide):
        found = config
        for key in path:
            found = found[key]
        assert found == value or value == "auto"
        assert found != "auto"


@pytest.mark.parametrize(("path", "value"), GUIDE_LEAVES, ids=[".".join(path) for path, _ in GUIDE_LEAVES])
def test_each_key_of_the_guide_is_accepted_alone_and_its_wrong_type_and_typo_are_refused(path, value):
    assert check(nested(path, value)) == nested(path, value)
    with pytest.raises(JobError) as wrong_type:
        check(nested(path, ["a", "list"]))
    assert wrong_type.value.field == f"deepspeed.config.{'.'.join(path)}"
    assert wrong_type.value.message.startswith("wanted ")
    typo = (*path[:-1], path[-1][:-1])
    with pytest.raises(JobError, match=f"did you mean {path[-1]}"):
        check(nested(typo, value))


@pytest.mark.parametrize(
    "raw",
    [
        {"gradient_clipping": -1},
        {"train_batch_size": 0},
        {"train_batch_size": 2.5},
        {"train_batch_size": True},
        {"train_batch_size": "16"},
        {"zero_optimization": {"stage": 4}},
        {"zero_optimization": {"stage": -1}},
        {"zero_optimization": None},
        {"zero_optimization": {"reduce_bucket_size": 0}},
        {"zero_optimization": {"overlap_comm": "maybe"}},
        {"zero_optimization": {"reduce_bucket_size": "5e8"}},
        {"zero_optimization": {"reduce_bucket_size": 1e30}},
        {"zero_optimization": {"offload_optimizer": {"device": None}}},
        {"fp16": {"enabled": None}},
        {"fp16": {"loss_scale": "dynamic"}},
        {"fp16": True},
        {"optimizer": None},
        {"zero_allow_untested_optimizer": "false"},
        {"zero_optimization": {"offload_optimizer": {"device": "gpu"}}},
        {"zero_optimization": {"offload_optimizer": {"ratio": 1.5}}},
        {"fp16": {"loss_scale": -1}},
        {"data_types": {"grad_accum_dtype": "fp8"}},
        {"communication_data_type": "int8"},
        {"steps_per_print": "auto"},
        {"wall_clock_breakdown": "auto"},
        {"activation_checkpointing": {"number_checkpoints": "auto"}},
    ],
    ids=str,
)
def test_values_of_a_wrong_type_or_range_are_refused(raw):
    with pytest.raises(JobError) as caught:
        check(raw)
    assert caught.value.message.startswith("wanted ")


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ({"train_batchsize": 16}, "train_batch_size"),
        ({"gradient_acumulation_steps": 2}, "gradient_accumulation_steps"),
        ({"zero_optimisation": {}}, "zero_optimization"),
        ({"zero_optimization": {"stge": 2}}, "stage"),
        ({"zero_optimization": {"offload_optimiser": {}}}, "offload_optimizer"),
        ({"zero_optimization": {"offload_optimizer": {"pin_memry": True}}}, "pin_memory"),
        ({"fp16": {"loss_scal": 0}}, "loss_scale"),
        ({"flops_profiler": {"enable": True}}, "enabled"),
    ],
    ids=str,
)
def test_an_unknown_key_names_the_one_that_was_meant(raw, meant):
    with pytest.raises(JobError, match=rf"did you mean {meant}\?"):
        check(raw)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"zzzzzz": 1}, "deepspeed.config.zzzzzz is no key of DeepSpeed"),
        ({"notes": {"steps_per_print": 50}}, "ignores it."),
        ({"gradient_accumulation_dtype": "fp32"}, "ignores it."),
        ({"stage": 2}, "ignores it; did you mean zero_optimization.stage?"),
        ({"offload_param": {}}, "did you mean zero_optimization.offload_param?"),
        ({"activation_checkpointing": {"x": 1}}, "deepspeed.config.activation_checkpointing.x is no key"),
        ({"autotuning": {"num_nodes": None}}, "ignores it."),
    ],
    ids=str,
)
def test_a_key_that_deepspeed_ignores_is_kept_with_a_warning(raw, words):
    assert check(raw) == raw
    (warning,) = warned(raw)
    assert words in warning


@pytest.mark.parametrize("name", ["_comment", "//", "// why", "#", "__doc__", "comment", "Comments"])
def test_a_comment_is_kept_without_a_word(name):
    for raw in ({name: "stage 2 was slower"}, {name: ["a", {"b": None}]}, {"flops_profiler": {name: "x"}}):
        assert check(raw) == raw
        assert warned(raw) == ()


@pytest.mark.parametrize("section", ["zero_optimization", "fp16", "bf16", "wandb", "comms_logger"])
def test_a_comment_where_deepspeed_takes_none_is_refused(section):
    with pytest.raises(JobError, match="takes no comments in this section"):
        check({section: {"_comment": "x"}})


def test_all_mistakes_are_told_at_once():
    raw = {
        "gradient_cliping": 1.0,
        "zero_optimization": {"stage": 2, "reduce_bucket": 1000},
        "optimizer": {"type": "OneBitAdam", "params": {"lr": 0.001}},
        "train_batch_size": 30,
        "scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 0.1}},
        "fp16": {"enabled": True, "opt_level": "O2"},
    }
    with pytest.raises(JobError) as caught:
        plan(script(raw, gpus_per_node=8))
    error = caught.value
    assert [each.field.removeprefix("deepspeed.config.") for each in (error, *error.others)] == [
        "gradient_cliping",
        "zero_optimization.reduce_bucket",
        "fp16.opt_level",
        "train_batch_size",
        "optimizer.type",
        "scheduler.params",
    ]
    assert len(str(error).splitlines()) == 6
    assert "OneBitAdam was removed" in str(error)


@pytest.mark.parametrize(
    "key",
    [
        "elasticity",
        "nebula",
        "amp",
        "compression_training",
        "quantize_training",
        "sparse_attention",
        "sparse_gradients",
        "curriculum_learning",
        "eigenvalue",
        "graph_harvesting",
        "progressive_layer_drop",
    ],
)
def test_keys_that_deepspeed_removed_say_what_to_do_even_when_disabled(key):
    with pytest.raises(JobError, match="was removed"):
        check({key: {"enabled": False}})


@pytest.mark.parametrize("key", ["mics_shard_size", "mics_hierarchical_params_gather", "zeropp_loco_param"])
def test_zero_keys_that_deepspeed_removed_say_what_to_do(key):
    with pytest.raises(JobError, match="was removed"):
        check({"zero_optimization": {key: 1}})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"cpu_offload": True}, {"offload_optimizer": {"device": "cpu"}}),
        ({"cpu_offload_param": True}, {"offload_param": {"device": "cpu"}}),
        ({"cpu_offload_use_pin_memory": True}, {}),
    ],
)
def test_deprecated_zero_keys_are_read_as_deepspeed_reads_them(old, new):
    raw = {"zero_optimization": {"stage": 3, **old}}
    assert check(raw) == {"zero_optimization": {"stage": 3, **new}}
    (warning,) = warned(raw)
    assert "is deprecated" in warning


def test_an_old_and_a_new_name_of_an_offload_are_refused():
    assert check({"zero_optimization": {"cpu_offload": False}}) == {"zero_optimization": {}}
    with pytest.raises(JobError, match="which is given too"):
        check({"zero_optimization": {"cpu_offload": True, "offload_optimizer": {"device": "cpu"}}})


def test_a_zero_section_that_is_a_flag_is_a_stage():
    assert check({"zero_optimization": True}) == {"zero_optimization": {"stage": 1}}
    assert check({"zero_optimization": False}) == {"zero_optimization": {"stage": 0}}
    assert plan(script({"zero_optimization": True})).zero_stage == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"zero_optimization": {"stage": "2"}}, {"zero_optimization": {"stage": 2}}),
        ({"zero_optimization": {"overlap_comm": "true"}}, {"zero_optimization": {"overlap_comm": True}}),
        ({"zero_optimization": {"reduce_bucket_size": "1_000"}}, {"zero_optimization": {"reduce_bucket_size": 1000}}),
        ({"zero_optimization": {"offload_param": None}}, {"zero_optimization": {}}),
        ({"fp16": {"enabled": 1, "loss_scale": "0"}}, {"fp16": {"enabled": True, "loss_scale": 0.0}}),
        ({"train_batch_size": None}, {}),
        ({"wall_clock_breakdown": 0}, {"wall_clock_breakdown": False}),
        ({"steps_per_print": sys.float_info.max}, {"steps_per_print": 2**63 - 1}),
    ],
    ids=str,
)
def test_values_are_read_as_deepspeed_reads_them(written, read):
    assert check(written) == read


def test_other_names_of_a_key_are_brought_to_one():
    assert check({"bfloat16": {"enabled": True}}) == {"bf16": {"enabled": True}}
    assert check({"zero_optimization": {"prefetch_bucket_size": 5e7}}) == {
        "zero_optimization": {"stage3_prefetch_bucket_size": 50_000_000}
    }


def test_a_key_under_two_names_is_refused():
    with pytest.raises(JobError, match="another name of bf16"):
        check({"bf16": {"enabled": True}, "bfloat16": {"enabled": True}})


def test_whole_numbers_written_as_5e8_become_whole_numbers():
    value = check({"zero_optimization": {"reduce_bucket_size": 5e8}})["zero_optimization"]["reduce_bucket_size"]
    assert value == 500_000_000
    assert isinstance(value, int)


def test_a_script_is_checked_as_strictly():
    with pytest.raises(JobError, match="did you mean train_batch_size"):
        plan(script({"train_batchsize": 16}))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"train_batch_size": "auto", "optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}, "optimizer.params.lr"),
        ({"gradient_clipping": "auto", "train_batch_size": 8}, "fails there: deepspeed.config.gradient_clipping."),
        ({"zero_optimization": {"stage": 1}}, "Batch sizes in ds_config.json are auto"),
    ],
    ids=str,
)
def test_what_only_the_trainer_fills_is_a_warning_for_a_script(raw, words):
    assert any(words in warning for warning in plan(script(raw)).warnings)


def test_auto_that_deepspeed_itself_reads_is_no_warning():
    raw = {"train_batch_size": 8, "bf16": {"enabled": "auto"}, "zero_optimization": {"reduce_bucket_size": "auto"}}
    assert plan(script(raw)).warnings == ()
    assert plan(script()).warnings == ()
