"""Every key of a ds_config that DeepSpeed 0.19.8 reads, as data: what it takes, and what became of the removed ones.

Sources: deepspeed/runtime/config.py and constants.py, zero/config.py, zero/offload_config.py, precision_config.py. A
test compares the sections with DeepSpeed's own models.
"""

from __future__ import annotations

from orchestrator.planner.dsschema import (
    ANY,
    COUNT,
    FLAG,
    FREE,
    LIST,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    SHARE,
    SIZE,
    TEXT,
    WHOLE,
    Section,
    Value,
    one_of,
    or_null,
)
from orchestrator.planner.dstools import TOOLS

_DEVICE = one_of("none", "cpu", "nvme")
_DTYPE = one_of("fp32", "bf16", "fp16")

_DEPRECATED_OFFLOAD = "is deprecated: write offload_optimizer: {device: cpu} or offload_param: {device: cpu}"
_MICS = "was removed with MiCS: zero_hpz_partition_size keeps a copy of the weights within a node"

OFFLOAD_OPTIMIZER = Section(
    auto=True,
    keys={
        "device": _DEVICE,
        "nvme_path": or_null(TEXT),
        "buffer_count": SIZE,
        "pin_memory": FLAG,
        "pipeline_read": FLAG,
        "pipeline_write": FLAG,
        "fast_init": FLAG,
        "ratio": SHARE,
        "super_offload": FLAG,
        "cpuadam_cores_perc": SHARE,
    },
)

OFFLOAD_PARAM = Section(
    auto=True,
    keys={
        "device": _DEVICE,
        "nvme_path": or_null(TEXT),
        "buffer_count": SIZE,
        "buffer_size": SIZE,
        "max_in_cpu": SIZE,
        "pin_memory": FLAG,
    },
)

ZENFLOW = Section(
    auto=True,
    keys={
        "topk_ratio": Value(kind="number", above=0, below=1),
        "select_strategy": one_of("auto", "step", "epoch"),
        "select_interval": ANY,
        "update_interval": ANY,
        "overlap_step": FLAG,
        "offload": FLAG,
        "auto_ratio": SHARE,
        "full_warm_up_rounds": WHOLE,
        "pt_reserved_cores_perc": SHARE,
        "steps_per_epoch": or_null(WHOLE),
    },
)

ZERO = Section(
    auto=True,
    keys={
        "stage": Value(kind="whole", minimum=0, maximum=3),
        "contiguous_gradients": FLAG,
        "reduce_scatter": FLAG,
        "reduce_bucket_size": COUNT,
        "use_multi_rank_bucket_allreduce": FLAG,
        "allgather_partitions": FLAG,
        "allgather_bucket_size": SIZE,
        "overlap_comm": or_null(FLAG),
        "compute_grad_norm": FLAG,
        "load_from_fp32_weights": FLAG,
        "elastic_checkpoint": FLAG,
        "offload_param": OFFLOAD_PARAM,
        "offload_optimizer": OFFLOAD_OPTIMIZER,
        "zenflow": ZENFLOW,
        "sub_group_size": SIZE,
        "stage3_prefetch_bucket_size": SIZE,
        "stage3_param_persistence_threshold": SIZE,
        "stage3_model_persistence_threshold": SIZE,
        "stage3_max_live_parameters": SIZE,
        "stage3_max_reuse_distance": SIZE,
        "stage3_gather_16bit_weights_on_model_save": FLAG,
        "stage3_module_granularity_threshold": WHOLE,
        "stage3_use_all_reduce_for_fetch_params": FLAG,
        "stage3_allgather_sequential": FLAG,
        "ignore_unused_parameters": FLAG,
        "legacy_stage1": FLAG,
        "round_robin_gradients": FLAG,
        "parameter_alignment": FLAG,
        "zero_hpz_partition_size": COUNT,
        "zero_quantized_weights": FLAG,
        "zero_quantized_nontrainable_weights": FLAG,
        "zero_quantized_gradients": FLAG,
        "memory_efficient_linear": FLAG,
        "pipeline_loading_checkpoint": FLAG,
        "override_module_apply": FLAG,
        "log_trace_cache_warnings": FLAG,
        "enable_sanity_checks": FLAG,
        "save_muon_momentum_buffer_in_memory": FLAG,
        "leaf_module": Section(auto=True, keys={"classes": ANY, "names": ANY, "name_suffixes": ANY}),
    },
    renamed={
        "prefetch_bucket_size": "stage3_prefetch_bucket_size",
        "param_persistence_threshold": "stage3_param_persistence_threshold",
        "model_persistence_threshold": "stage3_model_persistence_threshold",
        "max_live_parameters": "stage3_max_live_parameters",
        "max_reuse_distance": "stage3_max_reuse_distance",
        "gather_16bit_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
        "stage3_gather_fp16_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
        "module_granularity_threshold": "stage3_module_granularity_threshold",
        "use_all_reduce_for_fetch_params": "stage3_use_all_reduce_for_fetch_params",
        "allgather_sequential": "stage3_allgather_sequential",
    },
    removed={
        "cpu_offload": _DEPRECATED_OFFLOAD,
        "cpu_offload_param": _DEPRECATED_OFFLOAD,
        "cpu_offload_use_pin_memory": "is deprecated: write pin_memory in offload_optimizer and offload_param",
        "mics_shard_size": _MICS,
        "mics_hierarchical_params_gather": _MICS,
        "zeropp_loco_param": "was removed: zero_quantized_gradients works without it",
    },
)

FP16 = Section(
    auto=True,
    keys={
        "enabled": FLAG,
        "auto_cast": FLAG,
        "loss_scale": NOT_NEGATIVE,
        "initial_scale_power": WHOLE,
        "loss_scale_window": WHOLE,
        "hysteresis": WHOLE,
        "consecutive_hysteresis": FLAG,
        "min_loss_scale": WHOLE,
        "fp16_master_weights_and_grads": FLAG,
    },
)

BF16 = Section(
    auto=True,
    keys={
        "enabled": FLAG,
        "immediate_grad_update": FLAG,
        "check_grad_overflow": FLAG,
        "bf16_master_weights_and_grads": FLAG,
        "bf16_optimizer_states": FLAG,
    },
    removed={"check_overflow": "is not read: the key is check_grad_overflow"},
)

CHECKPOINT = Section(
    keys={
        "tag_validation": one_of("Warn", "Ignore", "Fail", any_case=True),
        "checkpoint_serialization": FLAG,
        "load_universal": FLAG,
        "use_node_local_storage": FLAG,
        "parallel_write": Section(keys={"pipeline_stage": FLAG}),
        "writer": Section(
            keys={
                "type": one_of("mock", "python", "fast", any_case=True),
                "decoupled": FLAG,
                "io_buffer_size": COUNT,
                "io_buffer_double": FLAG,
                "io_multiplier": COUNT,
                "show_statistics": FLAG,
                "data_parallel": or_null(one_of("replica", "socket", "machine", any_case=True)),
            }
        ),
    }
)

DATA_TYPES = Section(
    keys={
        "grad_accum_dtype": or_null(_DTYPE),
        "param_dtype": or_null(_DTYPE),
        "buffer_dtype": or_null(_DTYPE),
        "keep_in_fp32_modules": ANY,
    }
)

# DeepSpeed's own, whatever their case, and torch.optim's.
OPTIMIZERS = (
    "Adam",
    "AdamW",
    "Adagrad",
    "Lamb",
    "Lion",
    "Muon",
    "MuAdam",
    "MuAdamW",
    "MuSGD",
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
)
SCHEDULERS = ("WarmupLR", "WarmupDecayLR", "WarmupCosineLR", "OneCycle", "LRRangeTest")

_COMMUNICATION = or_null(one_of("fp32", "fp16", "bf16", any_case=True))
_GONE = "was removed from DeepSpeed 0.19.8: remove it"

CONFIG = Section(
    keys={
        "train_batch_size": COUNT,
        "train_micro_batch_size_per_gpu": COUNT,
        "gradient_accumulation_steps": COUNT,
        "managed_gradient_accumulation": FLAG,
        "gradient_clipping": NOT_NEGATIVE,
        "gradient_predivide_factor": POSITIVE,
        "gradient_allreduce_op": one_of("mean", "sum", any_case=True),
        "prescale_gradients": FLAG,
        "communication_data_type": _COMMUNICATION,
        "seq_parallel_communication_data_type": _COMMUNICATION,
        "sequence_parallel_size": COUNT,
        "disable_allgather": FLAG,
        "optimizer": Section(
            keys={
                "type": one_of(*OPTIMIZERS, any_case=True),
                "legacy_fusion": FLAG,
                "params": Section(
                    open=True,
                    keys={
                        "lr": NOT_NEGATIVE,
                        "betas": LIST,
                        "eps": NOT_NEGATIVE,
                        "weight_decay": NUMBER,
                        "torch_adam": FLAG,
                        "adam_w_mode": FLAG,
                    },
                ),
            }
        ),
        "scheduler": Section(
            keys={
                "type": one_of(*SCHEDULERS),
                "params": Section(
                    open=True,
                    keys={
                        "warmup_min_lr": NOT_NEGATIVE,
                        "warmup_max_lr": NOT_NEGATIVE,
                        "warmup_num_steps": COUNT,
                        "warmup_type": one_of("log", "linear"),
                        "total_num_steps": COUNT,
                    },
                ),
            }
        ),
        "zero_optimization": ZERO,
        "zero_allow_untested_optimizer": FLAG,
        "zero_force_ds_cpu_optimizer": FLAG,
        "fp16": FP16,
        "bf16": BF16,
        "torch_autocast": Section(
            keys={"enabled": FLAG, "dtype": TEXT, "lower_precision_safe_modules": LIST},
        ),
        "data_types": DATA_TYPES,
        "checkpoint": CHECKPOINT,
        "activation_checkpointing": Section(
            keys={
                "partition_activations": FLAG,
                "number_checkpoints": or_null(SIZE),
                "contiguous_memory_optimization": FLAG,
                "cpu_checkpointing": FLAG,
                "profile": FLAG,
                "synchronize_checkpoint_boundary": FLAG,
            }
        ),
        "pipeline": FREE,
        "dataloader_drop_last": FLAG,
        "steps_per_print": or_null(COUNT),
        "wall_clock_breakdown": FLAG,
        "memory_breakdown": FLAG,
        "dump_state": FLAG,
        "disable_python_gc": FLAG,
        "vocabulary_size": or_null(COUNT),
        "log_level": or_null(one_of("debug", "info", "warning", "error", "critical", any_case=True)),
        "use_data_before_expert_parallelism": FLAG,
        **TOOLS,
    },
    renamed={"bfloat16": "bf16"},
    removed={
        "elasticity": f"{_GONE}, and set the batch sizes; orch itself continues on other world sizes",
        "nebula": f"{_GONE}; checkpoints are written by DeepSpeed itself",
        "amp": "was removed from DeepSpeed 0.19.8: use training.precision: bf16 or fp16",
        "compression_training": f"{_GONE}; nothing replaces it",
        "quantize_training": f"{_GONE}; nothing replaces it",
        "sparse_attention": f"{_GONE}; choose attention in the model's config",
        "sparse_gradients": f"{_GONE}; embeddings made with sparse=True are reduced sparsely by themselves",
        "curriculum_learning": f"{_GONE}, and use data_efficiency.data_sampling.curriculum_learning",
        "eigenvalue": f"{_GONE}; nothing replaces it",
        "graph_harvesting": f"{_GONE}; nothing replaces it",
        "progressive_layer_drop": f"{_GONE}; nothing replaces it",
    },
)
