"""Keys of a ds_config beside training itself: monitors, profilers, compilers, parallelism, data pipelines."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planner.dsschema import (
    ANY,
    COUNT,
    FLAG,
    FREE,
    LIST,
    NUMBER,
    SIZE,
    TEXT,
    WHOLE,
    Section,
    Value,
    one_of,
    or_null,
)

_WRITER = Section(auto=True, keys={"enabled": FLAG, "output_path": TEXT, "job_name": TEXT})

COMPILE = Section(
    auto=True,
    keys={
        "deepcompile": FLAG,
        "autoep_non_moe": FLAG,
        "free_activation": FLAG,
        "free_activation_threshold": WHOLE,
        "offload_activation": FLAG,
        "offload_activation_pin_memory": FLAG,
        "offload_opt_states": FLAG,
        "double_buffer": FLAG,
        "symmetric_memory": FLAG,
        "debug_log": FLAG,
        "offload_parameters": FLAG,
        "sync_before_reduce": FLAG,
        "sync_after_reduce": FLAG,
        "sync_before_allgather": FLAG,
        "sync_after_allgather": FLAG,
        "keep_int_input_tensors": FLAG,
        "keep_all_input_tensors": FLAG,
        "passes": or_null(LIST),
    },
)

TENSOR_PARALLEL = Section(
    auto=True,
    keys={
        "dtype": ANY,
        "autotp_size": SIZE,
        "tp_overlap_comm": FLAG,
        "vocab_parallel_lm_head": or_null(FLAG),
        "vocab_parallel_ce_backend": one_of("torch", "liger"),
        "tp": FREE,
        "injection_policy_tuple": ANY,
        "partition_config": ANY,
        "preset_model": or_null(TEXT),
        "keep_module_on_host": FLAG,
        "kernel_inject": FLAG,
    },
    renamed={"tensor_parallel": "tp", "replace_with_kernel_inject": "kernel_inject"},
)

HYBRID_ENGINE = Section(
    auto=True,
    keys={
        "enabled": FLAG,
        "max_out_tokens": COUNT,
        "inference_tp_size": WHOLE,
        "release_inference_cache": FLAG,
        "pin_parameters": FLAG,
        "tp_gather_partition_size": WHOLE,
        "enable_cuda_graph": FLAG,
    },
)

COMET = Section(
    auto=True,
    keys={
        "enabled": FLAG,
        "samples_log_interval": WHOLE,
        "project": or_null(TEXT),
        "workspace": or_null(TEXT),
        "api_key": or_null(TEXT),
        "experiment_name": or_null(TEXT),
        "experiment_key": or_null(TEXT),
        "online": or_null(FLAG),
        "mode": or_null(TEXT),
    },
)

EXPERT_PARALLEL = Section(
    keys={
        "enabled": FLAG,
        "autoep_size": COUNT,
        "expert_tensor_parallel_size": COUNT,
        "validate_folding_routing": FLAG,
        "async_split_plan": FLAG,
        "preset_model": or_null(TEXT),
        "moe_layer_pattern": or_null(TEXT),
        "expert_pattern": or_null(TEXT),
        "router_pattern": or_null(TEXT),
        "use_grouped_mm": FLAG,
        "disable_triton_grouped_mm": FLAG,
        "route_norm": or_null(FLAG),
        "route_scale": NUMBER,
        "score_apply": one_of("auto", "pre", "post"),
        "combine_impl": one_of("auto", "weighted_sum", "fused_weighted_sum", "legacy_bmm"),
        "row_weighting_impl": one_of("auto", "eager", "fused"),
        "gate_up_impl": one_of("separate", "fused"),
        "comm_backend": one_of("comm", "deepep"),
        "comm_num_sm": WHOLE,
        "comm_qp_margin": WHOLE,
        "comm_max_tokens_per_rank": SIZE,
        "num_expert_groups": or_null(COUNT),
        "num_limited_groups": or_null(COUNT),
        "score_func": one_of("auto", "softmax", "sigmoid"),
        "top_k": ANY,
        "load_balance_coeff": ANY,
        "routed_scaling_factor": ANY,
        "expert_w1": or_null(TEXT),
        "expert_w2": or_null(TEXT),
        "expert_w3": or_null(TEXT),
        "num_experts_attr": or_null(TEXT),
        "top_k_attr": or_null(TEXT),
        "has_shared_experts": or_null(FLAG),
        "shared_experts_pattern": or_null(TEXT),
        "shared_experts_gate_pattern": or_null(TEXT),
        "expert_activation": or_null(TEXT),
    }
)

AUTOTUNING = Section(
    keys={
        "enabled": FLAG,
        "fast": FLAG,
        "results_dir": TEXT,
        "exps_dir": TEXT,
        "overwrite": FLAG,
        "start_profile_step": SIZE,
        "end_profile_step": SIZE,
        "metric": one_of("latency", "throughput", "flops"),
        "metric_path": or_null(TEXT),
        "tuner_type": one_of("gridsearch", "random", "model_based"),
        "tuner_early_stopping": COUNT,
        "tuner_num_trials": COUNT,
        "arg_mappings": ANY,
        "model_info": ANY,
        "model_info_path": or_null(TEXT),
        "mp_size": COUNT,
        "max_train_batch_size": or_null(COUNT),
        "min_train_batch_size": COUNT,
        "max_train_micro_batch_size_per_gpu": COUNT,
        "min_train_micro_batch_size_per_gpu": COUNT,
        "num_tuning_micro_batch_sizes": COUNT,
    }
)

TOOLS: Mapping[str, Value | Section] = {
    "tensorboard": _WRITER,
    "csv_monitor": _WRITER,
    "wandb": Section(auto=True, keys={"enabled": FLAG, "group": or_null(TEXT), "team": or_null(TEXT), "project": TEXT}),
    "comet": COMET,
    "comms_logger": Section(
        auto=True,
        keys={"enabled": FLAG, "prof_all": FLAG, "prof_ops": LIST, "verbose": FLAG, "debug": FLAG},
    ),
    "flops_profiler": Section(
        keys={
            "enabled": FLAG,
            "recompute_fwd_factor": NUMBER,
            "profile_step": SIZE,
            "module_depth": WHOLE,
            "top_modules": COUNT,
            "detailed": FLAG,
            "output_file": or_null(TEXT),
        }
    ),
    "timers": Section(keys={"throughput": Section(auto=True, keys={"enabled": FLAG, "synchronized": FLAG})}),
    "autotuning": AUTOTUNING,
    "compile": COMPILE,
    "tensor_parallel": TENSOR_PARALLEL,
    "expert_parallel": EXPERT_PARALLEL,
    "hybrid_engine": HYBRID_ENGINE,
    "aio": Section(
        keys={
            "block_size": COUNT,
            "queue_depth": COUNT,
            "intra_op_parallelism": COUNT,
            "single_submit": FLAG,
            "overlap_events": FLAG,
            "use_gds": FLAG,
        }
    ),
    "weight_quantization": Section(
        auto=True,
        keys={
            "enabled": FLAG,
            "num_bits": COUNT,
            "q_type": one_of("asymmetric", "symmetric"),
            "q_groups": COUNT,
            "quantized_initialization": FREE,
            "post_init_quant": FREE,
        },
    ),
    "data_efficiency": Section(
        keys={
            "enabled": FLAG,
            "seed": WHOLE,
            "data_sampling": Section(
                open=True, keys={"enabled": FLAG, "num_epochs": COUNT, "num_workers": SIZE, "pin_memory": FLAG}
            ),
            "data_routing": Section(open=True, keys={"enabled": FLAG}),
        }
    ),
    "datastates_ckpt": ANY,
}
