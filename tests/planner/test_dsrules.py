from __future__ import annotations

import pytest

from orchestrator.errors import JobError
from tests.planner.jobs import gpus, job, plan, script


def zero(**keys):
    return {"zero_optimization": keys}


REFUSED = [
    (job(config={"fp16": {"enabled": True}, "bf16": {"enabled": True}}), "fp16.enabled"),
    (job(config={"fp16": {"enabled": True}}, precision="bf16"), "fp16.enabled"),
    (job(config={"bf16": {"enabled": False}}, precision="bf16"), "bf16.enabled"),
    (
        job(zero=2, config=zero(offload_optimizer={"device": "cpu", "ratio": 0.5})),
        "zero_optimization.offload_optimizer.ratio",
    ),
    (
        job(zero=2, config=zero(offload_optimizer={"device": "cpu", "super_offload": True})),
        "zero_optimization.offload_optimizer.super_offload",
    ),
    (job(zero=3, config=zero(compute_grad_norm=False)), "zero_optimization.compute_grad_norm"),
    (job(zero=2, config=zero(compute_grad_norm=False)), "zero_optimization.compute_grad_norm"),
    (job(zero=3, gpus_per_node=8, config=zero(zero_hpz_partition_size=3)), "zero_optimization.zero_hpz_partition_size"),
    (job(zero=3, config={"gradient_allreduce_op": "SUM"}), "gradient_allreduce_op"),
    (job(zero=0, config={"bf16": {"bf16_master_weights_and_grads": True}}), "bf16.bf16_master_weights_and_grads"),
    (job(zero=2, config={"bf16": {"bf16_optimizer_states": True}}), "bf16.bf16_optimizer_states"),
    (job(precision="fp16", config={"fp16": {"loss_scale_window": 0}}), "fp16.loss_scale_window"),
    (job(precision="fp16", config={"fp16": {"min_loss_scale": 0}}), "fp16.min_loss_scale"),
    (job(precision="bf16", config={"data_types": {"param_dtype": "fp16"}}), "data_types.param_dtype"),
    (job(zero=0, precision="bf16", config={"data_types": {"grad_accum_dtype": "fp32"}}), "data_types.grad_accum_dtype"),
    (job(config={"checkpoint": {"writer": {"type": "fast", "decoupled": True}}}), "checkpoint.writer.decoupled"),
    (job(config={"optimizer": {"params": {"lr": 5e-5}}}), "optimizer.type"),
    (job(config={"scheduler": {}}), "scheduler.type"),
    (job(config={"gradient_clipping": 0.5}, args={"max_grad_norm": 1.0}), "gradient_clipping"),
    (job(config={"optimizer": {"type": "AdamW", "params": {"lr": 1.0}}}), "optimizer.params.lr"),
    (
        job(config={"optimizer": {"type": "AdamW", "params": {"betas": (0.9, 0.95)}}}, args={"adam_beta2": 0.99}),
        "optimizer.params.betas",
    ),
    (
        job(config={"optimizer": {"type": "AdamW", "params": {"weight_decay": 0.1}}}, args={"weight_decay": 0.2}),
        "optimizer.params.weight_decay",
    ),
    (
        job(config={"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 1.0}}}),
        "scheduler.params.warmup_max_lr",
    ),
    (
        job(config={"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 100}}}),
        "scheduler.params.warmup_num_steps",
    ),
    (
        job(config={"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 100}}}, steps=60),
        "scheduler.params.total_num_steps",
    ),
]


@pytest.mark.parametrize(("spec", "key"), REFUSED, ids=[f"{i}-{key}" for i, (_, key) in enumerate(REFUSED)])
def test_what_would_fail_or_mislead_later_is_refused(spec, key):
    with pytest.raises(JobError) as caught:
        plan(spec, gpus())
    assert caught.value.field == f"deepspeed.config.{key}"


def test_nvme_needs_gathered_weights():
    spec = job(zero=3, offload="nvme", nvme_path="/nvme", config=zero(stage3_gather_16bit_weights_on_model_save=False))
    with pytest.raises(JobError, match="every save fail"):
        plan(spec)
    made = plan(job(zero=3, offload="nvme", nvme_path="/nvme"))
    assert made.ds_config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


ACCEPTED = [
    job(zero=3, config=zero(offload_optimizer={"device": "cpu", "ratio": 0.5})),
    job(zero=2, config={**zero(compute_grad_norm=False), "gradient_clipping": 0}),
    job(zero=3, gpus_per_node=8, config=zero(zero_hpz_partition_size=4)),
    job(zero=1, precision="bf16", config={"data_types": {"grad_accum_dtype": "fp32"}}),
    job(precision="fp16", config={"fp16": {"loss_scale": 128, "loss_scale_window": 0}}),
    job(config={"gradient_clipping": 0.5}, args={"max_grad_norm": 0.5}),
    job(config={"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 9}}}, args={"warmup_steps": 9}),
    job(precision="bf16", config={"data_types": {"param_dtype": "bf16"}}),
    script({"data_types": {"param_dtype": "bf16"}}),
    script({"optimizer": {"type": "AdamW", "params": {"lr": 1.0}}, "train_batch_size": 4}),
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_what_deepspeed_does_is_accepted(spec):
    plan(spec, gpus())
