"""TrainingArguments that orch sets itself, and the key of job.yaml to use instead."""

from __future__ import annotations

from collections.abc import Mapping

_EVALUATION = "`run` with a script of your own; the built-in trainer does not evaluate"
_PARALLELISM = "`resources` and `deepspeed`; orch trains with DeepSpeed ZeRO"
_RESUME = "nothing; orch resumes from the newest proven checkpoint (`orch resume --from STEP` to choose)"

OWNED: Mapping[str, str] = {
    "output_dir": "checkpoint.dir",
    "overwrite_output_dir": "checkpoint.dir",
    "deepspeed": "deepspeed.config",
    "max_steps": "training.steps",
    "num_train_epochs": "training.epochs",
    "per_device_train_batch_size": "training.micro_batch",
    "per_gpu_train_batch_size": "training.micro_batch",
    "train_batch_size": "training.global_batch",
    "gradient_accumulation_steps": "training.global_batch and training.micro_batch",
    "auto_find_batch_size": "training.micro_batch",
    "learning_rate": "training.learning_rate",
    "seed": "training.seed",
    "data_seed": "training.seed",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "save_strategy": "checkpoint.every",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "save_on_each_node": "checkpoint.dir",
    "save_only_model": "nothing; a checkpoint without the optimizer cannot be resumed",
    "save_safetensors": "nothing; the model is always saved as safetensors",
    "load_best_model_at_end": _EVALUATION,
    "logging_strategy": "training.log_every",
    "logging_steps": "training.log_every",
    "logging_first_step": "training.log_every",
    "logging_dir": "nothing; metrics are in the run's metrics.jsonl",
    "logging_nan_inf_filter": "nothing; losses are recorded as they are",
    "resume_from_checkpoint": _RESUME,
    "ignore_data_skip": _RESUME,
    "restore_callback_states_from_checkpoint": _RESUME,
    "do_train": "nothing; orch always trains",
    "do_eval": _EVALUATION,
    "do_predict": _EVALUATION,
    "eval_strategy": _EVALUATION,
    "eval_steps": _EVALUATION,
    "eval_on_start": _EVALUATION,
    "ddp_backend": "nothing; orch chooses NCCL on GPUs and gloo on CPUs",
    "local_rank": "nothing; the launcher sets it",
    "use_cpu": "the cluster's `device` in the configuration",
    "no_cuda": "the cluster's `device` in the configuration",
    "fsdp": _PARALLELISM,
    "fsdp_config": _PARALLELISM,
    "parallelism_config": _PARALLELISM,
    "run_name": "name",
}
