"""TrainingArguments of the built-in trainer, from job.json's training section and the rendered ds_config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.job.protocol.jobfile import JobFile, Training


def make_arguments(
    job: JobFile, training: Training, ds_config: Mapping[str, Any], output_dir: str, *, cpu: bool
) -> dict[str, Any]:
    """Keyword arguments for TrainingArguments. What the job's `training.args` names is laid over the rest."""
    arguments: dict[str, Any] = {
        "output_dir": output_dir,
        "deepspeed": dict(ds_config),
        "per_device_train_batch_size": training.micro_batch,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": training.learning_rate,
        "seed": training.seed,
        # Said outright: left to itself, accelerate takes a job of several ranks for one process where there is no GPU.
        "use_cpu": cpu,
        "bf16": training.precision == "bf16",
        "fp16": training.precision == "fp16",
        "activation_checkpointing": training.gradient_checkpointing,
        "max_steps": job.steps or -1,
        "num_train_epochs": job.epochs or 1.0,
        "logging_strategy": "steps",
        "logging_steps": training.log_every,
        # A loss that is not a number must be seen; the filter would also wait for the GPU at every micro-batch.
        "logging_nan_inf_filter": False,
        # The callback decides when to save, and orch what stays.
        "save_strategy": "no",
        "save_total_limit": None,
        # Every token counts the same, however the batch is spread over ranks.
        "average_tokens_across_devices": True,
        "disable_tqdm": True,
        "report_to": "none",
    }
    arguments.update(_of_ds_config(ds_config))
    arguments.update(training.args)
    return arguments


def _of_ds_config(ds_config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that transformers compares with the ds_config: where that has a number, the number wins."""
    params = (ds_config.get("optimizer") or {}).get("params") or {}
    betas = params.get("betas")
    pairs = {
        "max_grad_norm": ds_config.get("gradient_clipping"),
        "adam_epsilon": params.get("eps"),
        "weight_decay": params.get("weight_decay"),
        "adam_beta1": betas[0] if isinstance(betas, (list, tuple)) else None,
        "adam_beta2": betas[1] if isinstance(betas, (list, tuple)) else None,
    }
    return {key: value for key, value in pairs.items() if isinstance(value, (int, float))}
