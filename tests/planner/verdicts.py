"""ds_config files of the shapes that people publish, and what orch says of each: tests compare it with DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AUTO = "auto"
TRIPLE = {"train_batch_size": AUTO, "train_micro_batch_size_per_gpu": AUTO, "gradient_accumulation_steps": AUTO}
MICRO = {"train_micro_batch_size_per_gpu": 4}
ADAM = {"type": "Adam", "params": {"lr": 0.001, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7}}
ADAMW_AUTO = {"type": "AdamW", "params": {"lr": AUTO, "betas": AUTO, "eps": AUTO, "weight_decay": AUTO}}
FP16 = {"enabled": True, "loss_scale": 0, "loss_scale_window": 1000, "hysteresis": 2, "min_loss_scale": 1}
FP16_AUTO = {**FP16, "enabled": AUTO, "initial_scale_power": 16}
WARMUP = {"type": "WarmupLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": 0.001, "warmup_num_steps": 1000}}
DECAY = {"type": "WarmupDecayLR", "params": {"total_num_steps": AUTO, "warmup_min_lr": AUTO, "warmup_max_lr": AUTO}}
CPU = {"device": "cpu", "pin_memory": True}
NVME = {"device": "nvme", "nvme_path": "/local_nvme", "pin_memory": True, "buffer_count": 4}
STAGE_2 = {
    "stage": 2,
    "allgather_partitions": True,
    "allgather_bucket_size": 5e8,
    "overlap_comm": True,
    "reduce_scatter": True,
    "reduce_bucket_size": 5e8,
    "contiguous_gradients": True,
}
STAGE_3 = {
    "stage": 3,
    "overlap_comm": True,
    "contiguous_gradients": True,
    "sub_group_size": 1e9,
    "reduce_bucket_size": AUTO,
    "stage3_prefetch_bucket_size": AUTO,
    "stage3_param_persistence_threshold": AUTO,
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_gather_16bit_weights_on_model_save": True,
}
AIO = {"block_size": 1048576, "queue_depth": 8, "thread_count": 1, "single_submit": False, "overlap_events": True}
CURRICULUM = {
    "enabled": True,
    "curriculum_type": "seqlen",
    "min_difficulty": 8,
    "max_difficulty": 1024,
    "schedule_type": "fixed_linear",
    "schedule_config": {"total_curriculum_step": 15000, "difficulty_step": 8},
}


@dataclass(frozen=True)
class Row:
    """`refused`: the fields of all mistakes that orch tells. `better`: why it refuses what DeepSpeed would take."""

    shape: str
    config: dict[str, Any]
    refused: str = ""
    better: str = ""
    ranks: int = 8


def zero(stage: int, **keys: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage, **keys}}


def optimizer(name: str, **params: Any) -> dict[str, Any]:
    return {"optimizer": {"type": name, "params": params}}


def scheduler(name: str, **params: Any) -> dict[str, Any]:
    return {"scheduler": {"type": name, "params": params}}


ROWS = (
    # Hugging Face's Trainer and accelerate.
    Row("trainer, ZeRO 2", {**TRIPLE, "fp16": FP16_AUTO, "zero_optimization": STAGE_2, "optimizer": ADAMW_AUTO}),
    Row(
        "trainer, ZeRO 2 and offload",
        {
            **TRIPLE,
            "gradient_clipping": AUTO,
            "fp16": FP16_AUTO,
            "bf16": {"enabled": AUTO},
            "optimizer": ADAMW_AUTO,
            "scheduler": DECAY,
            "zero_optimization": {**STAGE_2, "offload_optimizer": CPU},
            "steps_per_print": 2000,
            "wall_clock_breakdown": False,
        },
    ),
    Row(
        "trainer, ZeRO 3", {**TRIPLE, "bf16": {"enabled": AUTO}, "zero_optimization": STAGE_3, "optimizer": ADAMW_AUTO}
    ),
    Row(
        "trainer, ZeRO 3, all on the CPU",
        {**TRIPLE, "zero_optimization": {**STAGE_3, "offload_optimizer": CPU, "offload_param": CPU}},
    ),
    Row(
        "trainer, infinity",
        {**TRIPLE, "aio": AIO, "zero_optimization": {**STAGE_3, "offload_optimizer": NVME, "offload_param": NVME}},
    ),
    Row("trainer, accumulation of one's own", {**TRIPLE, "gradient_accumulation_steps": 4, **zero(2)}),
    Row("trainer, only the micro-batch left open", {"train_micro_batch_size_per_gpu": AUTO, **zero(2)}),
    Row("trainer, untested allowed", {**TRIPLE, "zero_allow_untested_optimizer": True, **zero(0)}),
    Row("trainer, no optimizer, auto everywhere", {**TRIPLE, "gradient_clipping": AUTO, **zero(2, overlap_comm=AUTO)}),
    Row(
        "accelerate, printing never",
        {**TRIPLE, "steps_per_print": float("inf"), **zero(3, offload_param={"device": AUTO})},
    ),
    Row("accelerate, fp16 auto_cast", {**TRIPLE, "fp16": {"enabled": True, "auto_cast": True}, **zero(2)}),
    Row("accelerate, msamp", {**TRIPLE, "msamp": {"enabled": True, "opt_level": "O2"}, **zero(2)}),
    Row("trainer, old gather key", {**TRIPLE, **zero(3, stage3_gather_fp16_weights_on_model_save=True)}),
    Row("auto that nobody fills", {**MICRO, "steps_per_print": AUTO}, "steps_per_print", "fails at the first step"),
    Row("a data type left to nobody", {**MICRO, "communication_data_type": AUTO}, "communication_data_type"),
    # Loops of one's own.
    Row("a first example", {"train_batch_size": 32, "optimizer": ADAM, "fp16": {"enabled": True}}),
    Row("batch triple", {"train_batch_size": 256, **MICRO, "gradient_accumulation_steps": 8}),
    Row(
        "batch triple with a wrong product",
        {"train_batch_size": 64, **MICRO, "gradient_accumulation_steps": 4},
        "train_batch_size",
    ),
    Row("micro and accumulation", {**MICRO, "gradient_accumulation_steps": 8}),
    Row("batch and micro", {"train_batch_size": 96, **MICRO}),
    Row("batch and micro that do not divide", {"train_batch_size": 100, **MICRO}, "train_batch_size"),
    Row("batch and accumulation", {"train_batch_size": 64, "gradient_accumulation_steps": 2}),
    Row("batch alone that does not divide", {"train_batch_size": 30}, "train_batch_size"),
    Row("batch smaller than the ranks", {"train_batch_size": 4}, "train_batch_size"),
    Row("batch of zero", {"train_batch_size": 0}, "train_batch_size"),
    Row("batch as a float", {"train_batch_size": 16.0}),
    Row("batch as text", {"train_batch_size": "16"}, "train_batch_size"),
    Row("batch that is null", {"train_batch_size": None, **MICRO}),
    Row("micro that is null", {"train_batch_size": 16, "train_micro_batch_size_per_gpu": None}),
    Row("one rank", {"train_batch_size": 3}, ranks=1),
    Row("sequence parallel", {"train_batch_size": 4, "sequence_parallel_size": 2}),
    Row("sequence parallel, wrong", {"train_batch_size": 6, "sequence_parallel_size": 2}, "train_batch_size"),
    Row(
        "pipeline that says so",
        {"train_batch_size": 64, **MICRO, "gradient_accumulation_steps": 8, "pipeline": {"stages": 4}},
    ),
    Row("pipeline, partitioning", {**MICRO, "pipeline": {"partition": "best", "seed_layers": True}, **zero(1)}),
    Row("steps_per_print of zero", {**MICRO, "steps_per_print": 0}, "steps_per_print", "divides by it at each step"),
    Row("prescaled", {**MICRO, "prescale_gradients": True, "gradient_predivide_factor": 8, "gradient_clipping": 1}),
    Row(
        "communication in bf16",
        {**MICRO, "communication_data_type": "bf16", "seq_parallel_communication_data_type": "fp32"},
    ),
    Row("clipping below zero", {**MICRO, "gradient_clipping": -1}, "gradient_clipping", "clips everything away"),
    Row("wall clock as text", {**MICRO, "wall_clock_breakdown": "false"}, "wall_clock_breakdown"),
    Row("wall clock as a number", {**MICRO, "wall_clock_breakdown": 1, "dump_state": 0, "memory_breakdown": False}),
    # Old names and sections that are gone.
    Row("ZeRO as a flag", {**MICRO, "zero_optimization": True}),
    Row("no ZeRO as a flag", {**MICRO, "zero_optimization": False}),
    Row("ZeRO as a number", {**MICRO, "zero_optimization": 2}, "zero_optimization"),
    Row("old offload", {**MICRO, **zero(2, cpu_offload=True, overlap_comm=False)}),
    Row("old offload, off", {**MICRO, **zero(2, cpu_offload=False)}),
    Row(
        "old offload of parameters",
        {**MICRO, **zero(3, cpu_offload=True, cpu_offload_params=True)},
        "zero_optimization.cpu_offload_params",
    ),
    Row("old offload, pinned", {**MICRO, **zero(3, cpu_offload_param=True, cpu_offload_use_pin_memory=True)}),
    Row(
        "old and new offload",
        {**MICRO, **zero(2, cpu_offload=True, offload_optimizer=CPU)},
        "zero_optimization.cpu_offload",
    ),
    Row("offload set to null", {**MICRO, **zero(3, offload_optimizer=None, offload_param=None)}),
    Row(
        "offload with a null device",
        {**MICRO, **zero(3, offload_param={"device": None})},
        "zero_optimization.offload_param.device",
    ),
    Row(
        "parameters offloaded below 3",
        {**MICRO, **zero(2, offload_param=CPU)},
        "zero_optimization.offload_param",
        "is ignored",
    ),
    Row(
        "nvme without a path",
        {**MICRO, **zero(3, offload_param={"device": "nvme"})},
        "deepspeed.nvme_path",
        "fails in the first step",
    ),
    Row("bfloat16", {**MICRO, "bfloat16": {"enabled": True}, **zero(1)}),
    Row("amp", {**MICRO, "amp": {"enabled": False, "opt_level": "O1"}}, "amp"),
    Row("fp16 with amp's level", {**MICRO, "fp16": {"enabled": True, "opt_level": "O2"}}, "fp16.opt_level"),
    Row("fp16 and bf16", {**MICRO, "fp16": {"enabled": True}, "bf16": {"enabled": True}}, "fp16.enabled"),
    Row("bf16 with a loss scale", {**MICRO, "bf16": {"enabled": True, "loss_scale": 0}}, "bf16.loss_scale"),
    Row("loss scale dynamic", {**MICRO, "fp16": {"enabled": True, "loss_scale": "dynamic"}}, "fp16.loss_scale"),
    Row("small loss scale", {**MICRO, "fp16": {"enabled": True, "min_loss_scale": 1e-10}}, "fp16.min_loss_scale"),
    Row(
        "flags as text", {**MICRO, "fp16": {"enabled": "true", "loss_scale": "0"}, "zero_optimization": {"stage": "2"}}
    ),
    Row("flags as numbers", {**MICRO, "bf16": {"enabled": 1}, **zero(2, overlap_comm=0)}),
    Row(
        "a bucket as text with an exponent",
        {**MICRO, **zero(2, reduce_bucket_size="5e8")},
        "zero_optimization.reduce_bucket_size",
    ),
    Row(
        "a bucket without end",
        {**MICRO, **zero(2, reduce_bucket_size=float("inf"))},
        "zero_optimization.reduce_bucket_size",
    ),
    Row(
        "elasticity",
        {**MICRO, "elasticity": {"enabled": True, "max_train_batch_size": 2000, "micro_batch_sizes": [2, 4]}},
        "elasticity",
    ),
    Row("sparse attention", {**MICRO, "sparse_attention": {"mode": "fixed", "block": 16}}, "sparse_attention"),
    Row("compression", {**MICRO, "compression_training": {"weight_quantization": {}}}, "compression_training"),
    Row("old curriculum", {**MICRO, "curriculum_learning": CURRICULUM}, "curriculum_learning"),
    Row("layer drop", {**MICRO, "progressive_layer_drop": {"enabled": True, "theta": 0.5}}, "progressive_layer_drop"),
    Row("eigenvalues, quantized", {**MICRO, "eigenvalue": {}, "quantize_training": {}}, "eigenvalue quantize_training"),
    Row("sparse gradients", {**MICRO, "sparse_gradients": True}, "sparse_gradients"),
    Row("nebula", {**MICRO, "nebula": {"enabled": True}}, "nebula"),
    Row("MiCS", {**MICRO, **zero(3, mics_shard_size=8)}, "zero_optimization.mics_shard_size"),
    Row(
        "MiCS, hierarchical",
        {**MICRO, **zero(3, mics_hierarchical_params_gather=True)},
        "zero_optimization.mics_hierarchical_params_gather",
    ),
    Row(
        "hpZ and ZeRO++",
        {**MICRO, **zero(3, zero_hpz_partition_size=8, zero_quantized_weights=True, zero_quantized_gradients=True)},
    ),
    Row("hpZ of nothing", {**MICRO, **zero(3, zero_hpz_partition_size=0)}),
    Row("LoCo", {**MICRO, **zero(3, zeropp_loco_param={"err_beta": 0.8})}, "zero_optimization.zeropp_loco_param"),
    Row("keys of 0.3", {**MICRO, "allreduce_always_fp32": True, "fp32_allreduce": False, "disable_allgather": True}),
    Row(
        "a typing error inside",
        {**MICRO, **zero(3, stage3_param_persitence_threshold=1e4)},
        "zero_optimization.stage3_param_persitence_threshold",
    ),
    Row("an old ZeRO key", {**MICRO, **zero(2, allgather_size=5e8)}, "zero_optimization.allgather_size"),
    Row("a typing error at the top", {**MICRO, "gradient_cliping": 1.0}, "gradient_cliping", "is ignored"),
    Row("another section's key at the top", {**MICRO, "contiguous_gradients": True, "cpu_offload": True, **zero(2)}),
    # Comments and keys of one's own.
    Row(
        "comments",
        {"_comment": "small cluster", "//": ["a", "b"], "#lr": 1, **MICRO, "comment": {"stage": 3}, **zero(1)},
    ),
    Row("a comment inside", {**MICRO, **zero(2, _comment="why")}, "zero_optimization._comment"),
    Row("keys of one's own", {**MICRO, "notes": {"steps_per_print": 50}, "seed": 1234, "model": "gpt", "lr": 1e-4}),
    Row(
        "keys of one's own in a section",
        {**MICRO, "activation_checkpointing": {"policy": "all"}, "flops_profiler": {"x": 1}},
    ),
    # Optimizers and schedulers.
    Row("fused Adam", {**MICRO, **optimizer("Adam", lr=1e-4, bias_correction=True, adam_w_mode=True)}),
    Row("torch's Adam", {**MICRO, **optimizer("AdamW", lr=1e-4, torch_adam=True, amsgrad=False, fused=False)}),
    Row("Adam in capitals", {**MICRO, **optimizer("ADAM", lr=1e-4)}),
    Row("Adam without parameters", {**MICRO, "optimizer": {"type": "Adam"}}),
    Row("CPU Adam", {**MICRO, **optimizer("AdamW", lr=1e-4), **zero(2, offload_optimizer={**CPU, "ratio": 1})}),
    Row("CPU Adam by its name", {**MICRO, **optimizer("DeepSpeedCPUAdam", lr=1e-4), **zero(2)}, "optimizer.type"),
    Row("fused Adam by its name", {**MICRO, **optimizer("FusedAdam", lr=1e-4)}, "optimizer.type"),
    Row("SGD", {**MICRO, **optimizer("SGD", lr=0.1, momentum=0.9, nesterov=True)}),
    Row("SGD with ZeRO", {**MICRO, **optimizer("SGD", lr=0.1), **zero(1)}, "optimizer.type"),
    Row(
        "SGD with ZeRO, allowed",
        {**MICRO, "zero_allow_untested_optimizer": True, **optimizer("SGD", lr=0.1), **zero(1)},
    ),
    Row("sgd", {**MICRO, **optimizer("sgd", lr=0.1)}, "optimizer.type"),
    Row("LAMB", {**MICRO, **optimizer("Lamb", lr=0.01, max_coeff=0.3, min_coeff=0.01), "fp16": FP16}),
    Row(
        "LAMB with a fixed scale",
        {**MICRO, **optimizer("Lamb"), "fp16": {"enabled": True, "loss_scale": 128}},
        "fp16.loss_scale",
    ),
    Row("Lion", {**MICRO, **optimizer("Lion", lr=1e-4, betas=[0.9, 0.99], weight_decay=0.1), **zero(2)}),
    Row("Adagrad", {**MICRO, **optimizer("Adagrad", lr=1e-2)}),
    Row("RMSprop", {**MICRO, **optimizer("RMSprop", lr=1e-3, alpha=0.9)}),
    Row(
        "1-bit Adam",
        {**MICRO, **optimizer("OneBitAdam", lr=4e-4, freeze_step=23000, comm_backend_name="nccl")},
        "optimizer.type",
    ),
    Row("0/1 Adam", {**MICRO, **optimizer("ZeroOneAdam", lr=1e-3, var_freeze_step=1000)}, "optimizer.type"),
    Row("1-bit LAMB", {**MICRO, **optimizer("OneBitLamb", lr=11e-3)}, "optimizer.type"),
    Row(
        "clipping in the optimizer",
        {**MICRO, **optimizer("Adam", lr=1e-3, max_grad_norm=1.0)},
        "optimizer.params.max_grad_norm",
    ),
    Row("a long learning rate", {**MICRO, **optimizer("Adam", learning_rate=1e-3)}, "optimizer.params.learning_rate"),
    Row("LAMB's clipping", {**MICRO, **optimizer("Lamb", max_grad_norm=1.0)}, "optimizer.params.max_grad_norm"),
    Row("warm-up", {**MICRO, "optimizer": ADAM, "scheduler": WARMUP}),
    Row("linear warm-up", {**MICRO, **scheduler("WarmupLR", warmup_num_steps=1, warmup_type="linear")}),
    Row(
        "no warm-up",
        {**MICRO, **scheduler("WarmupLR", warmup_num_steps=0)},
        "scheduler.params.warmup_num_steps",
    ),
    Row(
        "autotuning into nothing",
        {**MICRO, "autotuning": {"enabled": True, "results_dir": None}},
        "autotuning.results_dir",
    ),
    Row("warm-up and decay", {**MICRO, **scheduler("WarmupDecayLR", total_num_steps=1e5, warmup_max_lr=[1e-4, 1e-5])}),
    Row("decay without an end", {**MICRO, **scheduler("WarmupDecayLR", warmup_num_steps=10)}, "scheduler.params"),
    Row(
        "cosine",
        {**MICRO, **scheduler("WarmupCosineLR", total_num_steps=100, warmup_min_ratio=0.1, cos_min_ratio=0.01)},
    ),
    Row("cosine of torch", {**MICRO, **scheduler("CosineAnnealingLR", T_max=10)}),
    Row("cosine by another name", {**MICRO, **scheduler("cosine", num_warmup_steps=10)}, "scheduler.type"),
    Row(
        "1-cycle",
        {
            **MICRO,
            **scheduler("OneCycle", cycle_min_lr=1e-4, cycle_max_lr=1e-3, cycle_first_step_size=16, decay_lr_rate=0),
        },
    ),
    Row("1-cycle without rates", {**MICRO, **scheduler("OneCycle", cycle_first_step_size=100)}, "scheduler.params"),
    Row("range test", {**MICRO, **scheduler("LRRangeTest", lr_range_test_min_lr=1e-4, lr_range_test_step_size=200)}),
    Row("steps of torch", {**MICRO, **scheduler("StepLR", step_size=5, gamma=0.5)}),
    Row("steps of torch without a size", {**MICRO, **scheduler("StepLR", gamma=0.5)}, "scheduler.params"),
    Row("a scheduler without parameters", {**MICRO, "scheduler": {"type": "WarmupLR"}}, "scheduler.params"),
    Row(
        "warm-up under another name",
        {**MICRO, **scheduler("WarmupLR", warmup_steps=10)},
        "scheduler.params.warmup_steps",
    ),
    # Everything beside the training.
    Row(
        "activation checkpointing",
        {
            **MICRO,
            "activation_checkpointing": {
                "partition_activations": True,
                "cpu_checkpointing": True,
                "contiguous_memory_optimization": False,
                "number_checkpoints": None,
                "profile": True,
            },
        },
    ),
    Row("activation checkpointing as null", {**MICRO, "activation_checkpointing": None}, "activation_checkpointing"),
    Row(
        "flops",
        {
            **MICRO,
            "flops_profiler": {
                "enabled": True,
                "profile_step": 1,
                "module_depth": -1,
                "top_modules": 1,
                "detailed": True,
                "output_file": None,
            },
        },
    ),
    Row("tensorboard", {**MICRO, "tensorboard": {"enabled": True, "output_path": "out/tb/", "job_name": "bert"}}),
    Row(
        "tensorboard without a path",
        {**MICRO, "tensorboard": {"enabled": True, "output_path": None}},
        "tensorboard.output_path",
    ),
    Row("wandb", {**MICRO, "wandb": {"enabled": True, "team": None, "group": "g", "project": "p"}}),
    Row("wandb, entity", {**MICRO, "wandb": {"enabled": True, "entity": "e"}}, "wandb.entity"),
    Row(
        "comet and csv",
        {
            **MICRO,
            "comet": {"enabled": True, "project": "p", "samples_log_interval": 10},
            "csv_monitor": {"enabled": True, "output_path": "o", "job_name": "j"},
        },
    ),
    Row(
        "communication log",
        {
            **MICRO,
            "comms_logger": {
                "enabled": True,
                "verbose": False,
                "prof_all": False,
                "debug": False,
                "prof_ops": ["all_reduce"],
            },
        },
    ),
    Row(
        "autotuning",
        {
            **MICRO,
            "autotuning": {
                "enabled": True,
                "results_dir": "autotuning_results",
                "exps_dir": "autotuning_exps",
                "metric": "throughput",
                "num_nodes": None,
                "start_profile_step": 3,
                "end_profile_step": 5,
                "fast": True,
                "arg_mappings": {"train_micro_batch_size_per_gpu": "--per_device_train_batch_size"},
            },
        },
    ),
    Row(
        "autotuning of an unknown metric",
        {**MICRO, "autotuning": {"enabled": True, "metric": "speed"}},
        "autotuning.metric",
        "fails when it compares",
    ),
    Row(
        "hybrid engine",
        {
            **MICRO,
            "hybrid_engine": {
                "enabled": True,
                "max_out_tokens": 512,
                "inference_tp_size": 1,
                "release_inference_cache": False,
                "pin_parameters": True,
                "tp_gather_partition_size": 8,
            },
            **zero(3),
        },
    ),
    Row(
        "data efficiency",
        {
            **MICRO,
            "data_efficiency": {
                "enabled": True,
                "seed": 1,
                "data_sampling": {
                    "enabled": True,
                    "num_epochs": 1,
                    "num_workers": 0,
                    "curriculum_learning": {"enabled": True, "curriculum_metrics": {"seqlen": CURRICULUM}},
                },
                "data_routing": {"enabled": False},
            },
        },
    ),
    Row(
        "checkpointing",
        {
            **MICRO,
            "checkpoint": {
                "tag_validation": "Warn",
                "load_universal": False,
                "use_node_local_storage": True,
                "parallel_write": {"pipeline_stage": False},
            },
        },
    ),
    Row(
        "tag validation of one's own", {**MICRO, "checkpoint": {"tag_validation": "maybe"}}, "checkpoint.tag_validation"
    ),
    Row("data types", {**MICRO, "bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}, **zero(1)}),
    Row(
        "data types in long",
        {**MICRO, "bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "float32"}, **zero(2)},
    ),
    Row(
        "autocast",
        {
            **MICRO,
            "torch_autocast": {
                "enabled": True,
                "dtype": "bfloat16",
                "lower_precision_safe_modules": ["torch.nn.Linear"],
            },
        },
    ),
    Row(
        "autocast to nothing known",
        {**MICRO, "torch_autocast": {"enabled": True, "dtype": "fp8"}},
        "torch_autocast.dtype",
    ),
    Row("compile", {**MICRO, "compile": {"deepcompile": True}, **zero(3)}),
    Row(
        "compile as it once was",
        {**MICRO, "compile": {"enabled": True, "backend": "inductor"}},
        "compile.enabled compile.backend",
    ),
    Row("tensor parallel", {**MICRO, "tensor_parallel": {"autotp_size": 4}, **zero(1)}),
    Row(
        "mixture of experts", {**MICRO, "moe": {"enabled": True}, "use_data_before_expert_parallelism": True, **zero(2)}
    ),
    Row("timers", {**MICRO, "timers": {"throughput": {"enabled": True, "synchronized": True}}}),
    Row("aio with an own key", {**MICRO, "aio": {**AIO, "use_gds": False, "extra": 1}}),
    Row(
        "round robin, unused, master weights",
        {
            **MICRO,
            "fp16": {"enabled": True, "fp16_master_weights_and_grads": True},
            **zero(
                2,
                round_robin_gradients=True,
                ignore_unused_parameters=False,
                elastic_checkpoint=False,
                load_from_fp32_weights=True,
            ),
        },
    ),
    Row("leaf modules", {**MICRO, **zero(3, leaf_module={"classes": "Block", "names": ["experts"]})}),
    Row("sections set to null", {**MICRO, "bf16": None, "aio": None, "optimizer": {"type": "Adam", "params": None}}),
    Row(
        "modules kept in fp32",
        {**MICRO, "data_types": {"keep_in_fp32_modules": "norm"}},
        "data_types.keep_in_fp32_modules",
    ),
    Row("a loss scale that is a flag", {**MICRO, "fp16": {"enabled": True, "loss_scale": False}}, "fp16.loss_scale"),
    Row(
        "random layers, switched on",
        {**MICRO, "data_efficiency": {"data_routing": {"random_ltd": True}}},
        "data_efficiency.data_routing.random_ltd",
    ),
    Row("stage 4", {**MICRO, **zero(4)}, "zero_optimization.stage"),
    Row(
        "three mistakes",
        {**MICRO, "elasticity": {}, **zero(2, reduce_bucket=1000), **optimizer("OneBitAdam")},
        "elasticity zero_optimization.reduce_bucket optimizer.type",
    ),
)
