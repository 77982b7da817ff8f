"""The ds_config that DeepSpeed 0.19.8 gets: orch's own keys, with the job's raw keys laid over them.

`auto` is resolved here: where orch has a value of its own, that is taken. What is left `auto` is filled by Hugging
Face's Trainer (`TRAINER_FILLS`), or means DeepSpeed's default, and then the key is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.model.plan import Batch, DsConfig, ModelFacts
from orchestrator.model.spec import Precision, Spec, Training
from orchestrator.planner.dscheck import AUTO, BATCH, TRAINER_FILLS
from orchestrator.planner.setting import Buffers
from orchestrator.planner.settings import Asked, given
from orchestrator.planner.stage import Candidate

GRADIENT_CLIPPING = 1.0  # the default of both DeepSpeed 0.19.8 and Hugging Face's Trainer
BUCKET = 500_000_000  # values; DeepSpeed's default, as are the next two
MAX_LIVE = 1_000_000_000
SUB_GROUP = 1_000_000_000

# TrainingArguments' defaults of what an optimizer section repeats.
_ADAM = {"betas": ("adam_beta1", "adam_beta2"), "eps": ("adam_epsilon",), "weight_decay": ("weight_decay",)}
_ADAM_DEFAULTS = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0}

_FP16 = {
    "enabled": True,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of a ds_config. `raw`: checked raw keys under their canonical names."""

    spec: Spec
    asked: Asked
    candidate: Candidate
    batch: Batch | None
    facts: ModelFacts | None
    raw: DsConfig


def render(inputs: Inputs) -> DsConfig:
    """The whole ds_config, ready to be written as JSON."""
    own = _own_script(inputs) if inputs.batch is None else _built_in(inputs, inputs.batch)
    return _settle(overlay(own, inputs.raw))


def zero_section(candidate: Candidate, facts: ModelFacts | None, spec: Spec, raw: DsConfig) -> DsConfig:
    """`zero_optimization` with the raw keys laid over it."""
    own = _zero(candidate, facts, spec)
    return overlay(own, raw.get("zero_optimization", {}))


def buffers(zero: DsConfig, facts: ModelFacts) -> Buffers:
    """The buffer sizes that a zero section leads to."""
    stage = zero["stage"]
    square = facts.hidden**2
    automatic = {
        "reduce_bucket_size": square,
        "stage3_prefetch_bucket_size": int(0.9 * square),
        "allgather_bucket_size": BUCKET,
        "stage3_max_live_parameters": MAX_LIVE,
        "sub_group_size": SUB_GROUP,
    }
    size = {key: zero[key] if _number(zero.get(key)) else default for key, default in automatic.items()}
    overlap = zero.get("overlap_comm")
    return Buffers(
        reduce_bucket=size["reduce_bucket_size"],
        allgather_bucket=size["allgather_bucket_size"],
        prefetch=size["stage3_prefetch_bucket_size"],
        max_live=size["stage3_max_live_parameters"],
        sub_group=size["sub_group_size"],
        overlap=overlap if isinstance(overlap, bool) else stage == 3,
        pinned=_pinned(zero),
    )


def overlay(own: DsConfig, raw: DsConfig) -> DsConfig:
    """`raw` over `own`, mapping by mapping. A raw `auto` leaves orch's own value in place."""
    merged = dict(own)
    for key, value in raw.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = overlay(below if isinstance(below, Mapping) else {}, value)
        elif value != AUTO or key not in merged:
            merged[key] = value
    return merged


def _built_in(inputs: Inputs, batch: Batch) -> DsConfig:
    training = inputs.spec.training or Training()
    config: dict[str, object] = {
        "train_batch_size": batch.global_batch,
        "train_micro_batch_size_per_gpu": batch.micro_batch,
        "gradient_accumulation_steps": batch.accumulation,
        "gradient_clipping": training.args.get("max_grad_norm", GRADIENT_CLIPPING),
        **_precision(training.precision),
        "zero_optimization": _zero(inputs.candidate, inputs.facts, inputs.spec),
        "wall_clock_breakdown": False,
    }
    if "optimizer" in inputs.raw:
        config["optimizer"] = {"params": _optimizer_params(training)}
    if "scheduler" in inputs.raw:
        config["scheduler"] = {"params": _scheduler_params(training, inputs.raw)}
    return {**config, **_bit_identical(inputs)}


def _own_script(inputs: Inputs) -> DsConfig:
    """Hugging Face's Trainer wants `auto` where its arguments decide; deepspeed itself cannot take it.

    So: `auto` for the batch and the clipping unless the job gives a batch size, as a script without the Trainer must.
    """
    config: dict[str, object] = {}
    if not any(given(inputs.raw, key) is not None for key in BATCH[:2]):
        config |= dict.fromkeys((*BATCH, "gradient_clipping"), AUTO)
    if inputs.asked.precision is None:
        # deepspeed reads a section's `auto` as its default, false.
        config |= {"bf16": {"enabled": AUTO}, "fp16": {"enabled": AUTO}}
    else:
        config |= _precision(inputs.asked.precision)
    config["zero_optimization"] = _zero(inputs.candidate, None, inputs.spec)
    return {**config, **_bit_identical(inputs)}


def _precision(precision: Precision) -> DsConfig:
    if precision == "fp32":
        return {}
    return {precision: dict(_FP16) if precision == "fp16" else {"enabled": True}}


def _bit_identical(inputs: Inputs) -> DsConfig:
    """With offload, torch's own AdamW instead of DeepSpeed's CPU Adam, whose resumed steps differ by about 1e-6."""
    if inputs.candidate.optimizer == "none" or "optimizer" in inputs.raw:
        return {}
    return {"zero_force_ds_cpu_optimizer": False}


def _zero(candidate: Candidate, facts: ModelFacts | None, spec: Spec) -> DsConfig:
    zero: dict[str, object] = {"stage": candidate.stage}
    if candidate.stage in (1, 2):
        zero |= _below_three(facts)
    if candidate.stage == 3:
        zero |= _three(candidate, facts, spec)
    if candidate.optimizer != "none":
        zero["offload_optimizer"] = _offload(candidate.optimizer, spec)
    if candidate.param != "none":
        zero["offload_param"] = _offload(candidate.param, spec)
    return zero


def _below_three(facts: ModelFacts | None) -> DsConfig:
    bucket = BUCKET if facts is None else min(BUCKET, facts.parameters)
    return {
        "allgather_partitions": True,
        "allgather_bucket_size": bucket,
        "overlap_comm": True,
        "reduce_scatter": True,
        "reduce_bucket_size": bucket,
        "contiguous_gradients": True,
    }


def _three(candidate: Candidate, facts: ModelFacts | None, spec: Spec) -> DsConfig:
    """Hugging Face's sizes, h^2 and so on, in numbers; DeepSpeed's own where the hidden size is not known."""
    sized: dict[str, object] = {}
    if facts is not None:
        sized = {
            "reduce_bucket_size": facts.hidden**2,
            "stage3_prefetch_bucket_size": int(0.9 * facts.hidden**2),
            "stage3_param_persistence_threshold": 10 * facts.hidden,
        }
    return {
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": SUB_GROUP,
        **sized,
        "stage3_max_live_parameters": MAX_LIVE,
        "stage3_max_reuse_distance": MAX_LIVE,
        "stage3_gather_16bit_weights_on_model_save": _gather(candidate, spec),
    }


def _gather(candidate: Candidate, spec: Spec) -> bool:
    """Hugging Face's own Trainer writes its shards twice without it, and cannot save at all with nvme.

    The built-in trainer writes them once anyhow, and the whole model at its end.
    """
    return spec.run is not None or candidate.offload == "nvme"


def _offload(place: str, spec: Spec) -> DsConfig:
    section: dict[str, object] = {"device": place, "pin_memory": True}
    if place == "nvme" and spec.deepspeed.nvme_path is not None:
        section["nvme_path"] = spec.deepspeed.nvme_path
    return section


def _optimizer_params(training: Training) -> DsConfig:
    """The trainer's own values: DeepSpeed's defaults differ (a learning rate of 1e-3)."""
    values = {name: training.args.get(name, default) for name, default in _ADAM_DEFAULTS.items()}
    params: dict[str, object] = {"lr": training.learning_rate}
    for key, names in _ADAM.items():
        params[key] = [values[name] for name in names] if len(names) > 1 else values[names[0]]
    return params


_SCHEDULED = {
    "WarmupLR": ("warmup_min_lr", "warmup_max_lr", "warmup_num_steps"),
    "WarmupDecayLR": ("warmup_min_lr", "warmup_max_lr", "warmup_num_steps", "total_num_steps"),
    "WarmupCosineLR": ("warmup_num_steps", "total_num_steps"),
}


def _scheduler_params(training: Training, raw: DsConfig) -> DsConfig:
    warmup = training.args.get("warmup_steps", 0)
    values: dict[str, object] = {
        "warmup_min_lr": 0,
        "warmup_max_lr": training.learning_rate,
        "warmup_num_steps": max(1, warmup) if isinstance(warmup, int) else AUTO,  # a share of the steps: the Trainer's
        "total_num_steps": training.steps if training.steps is not None else AUTO,
    }
    return {key: values[key] for key in _SCHEDULED.get(raw["scheduler"].get("type"), ())}


def _settle(config: DsConfig, path: tuple[str, ...] = ()) -> DsConfig:
    settled: dict[str, object] = {}
    for key, value in config.items():
        here = (*path, key)
        if isinstance(value, Mapping):
            settled[key] = _settle(value, here)
        elif value != AUTO or here in TRAINER_FILLS:
            settled[key] = value
    return settled


def _pinned(zero: DsConfig) -> bool:
    sections = (zero.get("offload_optimizer"), zero.get("offload_param"))
    return any(section.get("pin_memory", True) is not False for section in sections if isinstance(section, Mapping))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
