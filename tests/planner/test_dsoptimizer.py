from __future__ import annotations

import pytest

from orchestrator.errors import JobError
from tests.planner.jobs import gpus, job, plan, script


def optimizer(name, /, **params):
    return {"optimizer": {"type": name, "params": params}}


def scheduler(name, /, **params):
    return {"scheduler": {"type": name, "params": params}}


REFUSED = [
    (optimizer("OneBitAdam", lr=1e-3, freeze_step=10), "optimizer.type", "OneBitAdam was removed"),
    (optimizer("OnebitLamb"), "optimizer.type", "OneBitLamb was removed"),
    (optimizer("ZeroOneAdam"), "optimizer.type", "was removed"),
    (optimizer("AdmW"), "optimizer.type", "did you mean AdamW?"),
    (optimizer("sgd"), "optimizer.type", "did you mean SGD?"),
    (optimizer("paged_adamw_8bit"), "optimizer.type", "have no optimizer paged_adamw_8bit"),
    (optimizer("AdamW", lr=1e-3, max_grad_norm=1.0), "optimizer.params.max_grad_norm", "write gradient_clipping"),
    (optimizer("Lamb", max_grad_norm=1.0), "optimizer.params.max_grad_norm", "write gradient_clipping"),
    (optimizer("Adam", learning_rate=1e-3), "optimizer.params.learning_rate", "write lr"),
    (optimizer("adamw", weight_decya=0.1), "optimizer.params.weight_decya", "did you mean weight_decay?"),
    (optimizer("Adam", beta1=0.9), "optimizer.params.beta1", "write betas"),
    (optimizer("Adam", _comment="x"), "optimizer.params._comment", "Adam takes no _comment"),
    (optimizer("Adam", maximize=True), "optimizer.params.maximize", "takes no maximize here"),
    (optimizer("Lion", eps=1e-8), "optimizer.params.eps", "Lion takes no eps"),
    (optimizer("SGD", betas=[0.9, 0.99]), "optimizer.params.betas", "SGD takes no betas"),
    ({"optimizer": {"params": {"lr": 5e-5}}}, "optimizer.type", "is missing"),
    ({**optimizer("Lamb"), "fp16": {"enabled": True, "loss_scale": 128}}, "fp16.loss_scale", "dynamic"),
    (scheduler("OneCycle", cycle_first_step_size=100), "scheduler.params", "cycle_min_lr and cycle_max_lr are missing"),
    (scheduler("WarmupDecayLR", warmup_num_steps=5), "scheduler.params", "total_num_steps is missing"),
    (scheduler("WarmupCosineLR"), "scheduler.params", "total_num_steps is missing"),
    (scheduler("StepLR"), "scheduler.params", "step_size is missing"),
    (scheduler("warmuplr"), "scheduler.type", "did you mean WarmupLR?"),
    (scheduler("LambdaLR", lr_lambda="x"), "scheduler.type", "have no scheduler LambdaLR"),
    (scheduler("WarmupLR", warmup_steps=5), "scheduler.params.warmup_steps", "WarmupLR takes no warmup_steps"),
    (scheduler("WarmupLR", total_num_steps=5), "scheduler.params.total_num_steps", "takes no total_num_steps"),
    ({"scheduler": {"type": "WarmupLR"}}, "scheduler.params", "DeepSpeed fails without it"),
    ({"scheduler": {"type": "OneCycle"}}, "scheduler.params", "cycle_min_lr and cycle_max_lr are missing"),
    ({"scheduler": {}}, "scheduler.type", "is missing"),
]


@pytest.mark.parametrize(("raw", "field", "words"), REFUSED, ids=[f"{i}-{row[1]}" for i, row in enumerate(REFUSED)])
def test_what_deepspeed_would_refuse_with_all_ranks_up_is_refused(raw, field, words):
    with pytest.raises(JobError) as caught:
        plan(script({"train_batch_size": 8, **raw}, zero=0))
    assert caught.value.field == f"deepspeed.config.{field}"
    assert words in str(caught.value)


ACCEPTED = [
    optimizer("adamw", lr="auto", betas="auto", eps="auto", weight_decay="auto"),
    optimizer("Adam", lr=1e-3, torch_adam=True, maximize=True, foreach=False),
    optimizer("Adam", lr=1e-3, bias_correction=False, adam_w_mode=False, set_grad_none=True),
    {**optimizer("Adam", fp32_optimizer_states=False), "zero_optimization": {"stage": 2, "cpu_offload": True}},
    optimizer("Lion", lr=1e-4, betas=[0.9, 0.99]),
    optimizer("Muon", lr=0.02, momentum=0.95, muon_lr=0.02, adam_lr=1e-4),
    optimizer("MuAdam", lr=1e-3, whatever=1),
    optimizer("Adagrad", lr=1e-2),
    {"optimizer": {"type": "AdamW"}},
    scheduler("OneCycle", cycle_min_lr=0.0001, cycle_max_lr=0.0010, cycle_momentum=True, decay_lr_rate=0),
    scheduler(
        "WarmupDecayLR", total_num_steps="auto", warmup_min_lr=[0, 0], warmup_num_steps=1, last_batch_iteration=-1
    ),
    scheduler("LRRangeTest", lr_range_test_min_lr=1e-4, lr_range_test_staircase=False),
    scheduler("CosineAnnealingLR", T_max=100, eta_min=1e-6),
    scheduler("WarmupLR"),
]


@pytest.mark.parametrize("raw", ACCEPTED, ids=str)
def test_what_deepspeed_takes_is_accepted(raw):
    plan(script(raw), gpus())


def test_an_optimizer_that_zero_does_not_know_gets_no_zero_unless_it_is_allowed():
    raw = optimizer("SGD", lr=0.1, momentum=0.9)
    assert plan(script(raw)).zero_stage == 0
    assert plan(script({**raw, "zero_allow_untested_optimizer": True})).zero_stage == 1
    with pytest.raises(JobError, match="DeepSpeed refuses SGD at ZeRO stage 2") as caught:
        plan(script({**raw, "zero_optimization": {"stage": 2}}))
    assert "zero_allow_untested_optimizer: true" in caught.value.hint


def test_with_offload_the_parameters_are_those_of_the_cpu_optimizer():
    raw = {
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
        **optimizer("Adam", set_grad_none=True),
    }
    with pytest.raises(JobError, match="takes no set_grad_none here"):
        plan(script(raw))


def test_the_built_in_trainer_fills_what_a_scheduler_needs():
    made = plan(job(config={"scheduler": {"type": "WarmupDecayLR"}}, steps=60))
    assert made.ds_config["scheduler"]["params"]["total_num_steps"] == 60
    with pytest.raises(JobError, match="cycle_min_lr and cycle_max_lr"):
        plan(job(config={"scheduler": {"type": "OneCycle"}}))
