from __future__ import annotations

from orchestrator.planner.dsconfig import overlay
from tests.planner.jobs import TINY_FACTS, gpus, job, llama, plan, script


def test_raw_keys_lie_over_orchs_own_section_by_section():
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "e": {"f": 4}}) == {
        "a": {"b": 9, "c": 2},
        "d": 3,
        "e": {"f": 4},
    }


def test_a_raw_auto_leaves_orchs_value():
    assert overlay({"a": 1}, {"a": "auto", "b": "auto"}) == {"a": 1, "b": "auto"}


def test_planning_does_not_change_the_jobs_own_mapping():
    raw = {"zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}}
    plan(job(config=raw))
    assert raw == {"zero_optimization": {"stage": 3, "reduce_bucket_size": "auto"}}


def test_buckets_are_no_larger_than_the_model():
    zero = plan(job(zero=2)).ds_config["zero_optimization"]
    assert zero["reduce_bucket_size"] == zero["allgather_bucket_size"] == TINY_FACTS.parameters


def test_stage_three_sizes_are_hugging_faces_in_numbers():
    zero = plan(job(zero=3, gpus_per_node=8), gpus(), llama("7b")).ds_config["zero_optimization"]
    assert zero["reduce_bucket_size"] == 4096**2
    assert zero["stage3_prefetch_bucket_size"] == int(0.9 * 4096**2)
    assert zero["stage3_param_persistence_threshold"] == 10 * 4096


def test_raw_auto_sizes_become_numbers_where_the_model_is_known():
    raw = {"zero_optimization": {"reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}}
    known = plan(job(zero=3, config=raw)).ds_config["zero_optimization"]
    unknown = plan(job(zero=3, config=raw), facts=None).ds_config["zero_optimization"]
    assert known["reduce_bucket_size"] == 64**2
    assert unknown["reduce_bucket_size"] == "auto"


def test_auto_that_nothing_fills_means_deepspeeds_default():
    raw = {"zero_optimization": {"round_robin_gradients": "auto", "offload_optimizer": "auto"}}
    zero = plan(job(zero=2, config=raw)).ds_config["zero_optimization"]
    assert "round_robin_gradients" not in zero
    assert "offload_optimizer" not in zero


def test_only_the_precision_that_is_used_has_a_section():
    assert {"bf16", "fp16"}.isdisjoint(plan(job(precision="fp32")).ds_config)
    assert plan(job(precision="bf16")).ds_config["bf16"] == {"enabled": True}
    assert plan(job(precision="fp16")).ds_config["fp16"]["enabled"] is True


def test_offload_keeps_torchs_optimizer_so_that_a_resume_is_bit_identical():
    made = plan(job(zero=3, offload="cpu"))
    assert made.ds_config["zero_force_ds_cpu_optimizer"] is False
    assert not any("differ by about 1e-6" in line for line in made.warnings)
    advice = next(line for line in made.warnings if "CPU Adam is faster" in line)
    section = {"optimizer": {"type": "AdamW"}}
    assert "deepspeed.config: {optimizer: {type: AdamW}}" in advice
    followed = plan(job(zero=3, offload="cpu", config=section, learning_rate=2e-4))
    assert followed.ds_config["optimizer"]["params"]["lr"] == 2e-4
    assert not any("CPU Adam is faster" in line for line in followed.warnings)


def test_a_faster_optimizer_is_warned_about():
    fast = plan(job(zero=3, offload="cpu", config={"zero_force_ds_cpu_optimizer": True}))
    section = plan(job(zero=2, config={"optimizer": {"type": "AdamW"}}))
    torchs = plan(job(zero=2, config={"optimizer": {"type": "AdamW", "params": {"torch_adam": True}}}))
    assert any("differ by about 1e-6" in line for line in fast.warnings)
    assert any("differ by about 1e-6" in line for line in section.warnings)
    assert torchs.warnings == ()


def test_no_optimizer_section_unless_the_job_brings_one():
    assert "optimizer" not in plan(job()).ds_config
    assert "scheduler" not in plan(job()).ds_config


def test_an_optimizer_section_takes_the_jobs_values_not_deepspeeds():
    raw = {"optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}}}
    params = plan(job(config=raw, learning_rate=3e-4, args={"weight_decay": 0.1})).ds_config["optimizer"]["params"]
    assert params == {"lr": 3e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}


def test_a_scheduler_section_takes_the_jobs_values():
    raw = {"scheduler": {"type": "WarmupDecayLR", "params": {"warmup_max_lr": "auto", "total_num_steps": "auto"}}}
    by_steps = plan(job(config=raw, learning_rate=3e-4)).ds_config["scheduler"]["params"]
    by_epochs = plan(job(config=raw, steps=None, epochs=1.0)).ds_config["scheduler"]["params"]
    assert by_steps == {"warmup_min_lr": 0, "warmup_max_lr": 3e-4, "warmup_num_steps": 1, "total_num_steps": 60}
    assert by_epochs["total_num_steps"] == "auto"


def test_a_warmup_given_as_a_share_is_left_to_the_trainer():
    raw = {"scheduler": {"type": "WarmupLR"}}
    params = plan(job(config=raw, args={"warmup_steps": 0.1})).ds_config["scheduler"]["params"]
    assert params["warmup_num_steps"] == "auto"


def test_gradient_clipping_follows_the_trainers_argument_or_the_raw_key():
    assert plan(job()).ds_config["gradient_clipping"] == 1.0
    assert plan(job(args={"max_grad_norm": 0.3})).ds_config["gradient_clipping"] == 0.3
    assert plan(job(config={"gradient_clipping": 0.5})).ds_config["gradient_clipping"] == 0.5


def test_a_script_with_no_batch_sizes_gets_auto_for_hugging_faces_trainer():
    made = plan(script())
    assert made.ds_config["train_batch_size"] == made.ds_config["gradient_clipping"] == "auto"
    assert made.ds_config["bf16"] == made.ds_config["fp16"] == {"enabled": "auto"}
    assert any("Trainer fills" in line for line in made.because)


def test_a_script_with_batch_sizes_gets_a_config_that_deepspeed_itself_can_read():
    config = plan(script({"train_batch_size": 8, "bf16": {"enabled": True}})).ds_config
    assert config["train_batch_size"] == 8
    assert {"gradient_clipping", "train_micro_batch_size_per_gpu", "fp16"}.isdisjoint(config)


def test_keys_without_effect_are_warned_about():
    made = plan(job(zero=2, config={"zero_optimization": {"stage3_max_live_parameters": 1e9}}))
    assert made.warnings == ("Without effect below ZeRO stage 3, and the stage is 2: stage3_max_live_parameters.",)


def test_an_interval_beyond_the_run_is_warned_about():
    from dataclasses import replace

    from orchestrator.model.spec import Checkpoint

    made = plan(replace(job(steps=60), checkpoint=Checkpoint(every=100)))
    assert any("starts over" in line for line in made.warnings)


def test_fp16_on_a_cpu_is_warned_about():
    assert any("fp16 is slow on a CPU" in line for line in plan(job(precision="fp16")).warnings)
