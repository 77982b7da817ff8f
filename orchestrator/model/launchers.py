"""The options of the launchers that people write before their scripts: which take a value, and what they mean here.

From the parsers of torch 2.15 (torch.distributed.run), deepspeed 0.19 (launcher.runner), accelerate 1.15 (launch) and
lightning 2.6 (fabric); a test compares the flags with those of the installed ones. Names are written with underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NODES, RANKS, WORLD = "nodes", "ranks", "world"  # of the job: its nodes, the ranks of one, all ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """`flags` take no value, `values` take one and are dropped. `counts`: options that must agree with the job.

    `selects`: options that name hosts and devices, as DeepSpeed writes them. `variables`: options that the script gets,
    `constant`: variables that the launcher always sets. `refused`: names, or prefixes that end in an underscore, of
    options that orch cannot hand on, and why or what to do.
    """

    title: str
    flags: frozenset[str]
    values: frozenset[str]
    counts: Mapping[str, str]
    variables: Mapping[str, str]
    constant: Mapping[str, str]
    selects: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    module: frozenset[str] = frozenset({"m", "module"})
    config: str | None = None  # the option that names its own configuration file

    def known(self) -> frozenset[str]:
        """The names of all options."""
        several = (self.flags, self.values, self.counts, self.selects, self.variables, self.refused, self.module)
        return frozenset().union(*several, {self.config} if self.config else ())

    def refusal(self, name: str) -> str | None:
        """Why an option cannot be handed on; None when it can."""
        found = (why for key, why in self.refused.items() if name == key or (key[-1] == "_" and name.startswith(key)))
        return next(found, None)


TORCHRUN = Launcher(
    title="torchrun",
    flags=frozenset({"no_python", "run_path", "standalone", "use_env", "virtual_local_rank"}),
    values=frozenset(
        {
            *("rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "max_restarts", "monitor_interval"),
            *("start_method", "event_log_handler", "role", "log_dir", "r", "redirects", "t", "tee", "node_rank"),
            *("log_line_prefix_template", "local_ranks_filter", "duplicate_stdout_filters", "duplicate_stderr_filters"),
            *("master_addr", "master_port", "local_addr", "logs_specs", "numa_binding", "signals_to_handle"),
            "shutdown_timeout",
        }
    ),
    counts={"nnodes": NODES, "nproc_per_node": RANKS},
    variables={},
    constant={},
)
DEEPSPEED = Launcher(
    title="deepspeed",
    flags=frozenset(
        {
            *("no_python", "no_local_rank", "no_ssh", "no_ssh_check", "force_multi", "save_pid", "bind_cores_to_rank"),
            *("quiet", "q"),
        }
    ),
    values=frozenset(
        {
            *("H", "hostfile", "master_port", "master_addr", "node_rank", "launcher", "launcher_args", "ssh_port"),
            *("enable_each_rank_log", "bind_core_list", "venv_script", "log_level"),
        }
    ),
    counts={"num_nodes": NODES, "num_gpus": RANKS, "num_accelerators": RANKS},
    variables={},
    constant={},
    selects=frozenset({"include", "i"}),
    refused={
        "autotuning": "it starts many trainings in place of one",
        "elastic_training": "a job has the number of nodes that `resources` says",
        "min_elastic_nodes": "a job has the number of nodes that `resources` says",
        "max_elastic_nodes": "a job has the number of nodes that `resources` says",
        "exclude": "which nodes a job gets is the cluster's affair",
        "e": "which nodes a job gets is the cluster's affair",
    },
    module=frozenset({"module"}),
)
_IN_THE_SCRIPT = "only its launcher sets that up; set it in the script, as an argument of Accelerator()"
_PLUGIN = (
    *("zero_stage", "offload_optimizer_device", "offload_param_device", "offload_optimizer_nvme_path"),
    *("offload_param_nvme_path", "zero3_save_16bit_model"),
)
# What accelerate's launcher hands on only when it uses DeepSpeed.
WITH_DEEPSPEED: Mapping[str, str] = {
    "gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
    "deepspeed_config_file": "ACCELERATE_DEEPSPEED_CONFIG_FILE",
    "deepspeed_moe_layer_cls_names": "ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES",
    "zero3_init_flag": "ACCELERATE_DEEPSPEED_ZERO3_INIT",
    **{name: f"ACCELERATE_DEEPSPEED_{name.upper()}" for name in _PLUGIN},
}
_DYNAMO = ("backend", "mode", "use_dynamic", "use_fullgraph", "use_regional_compilation")
ACCELERATE = Launcher(
    title="accelerate launch",
    flags=frozenset(
        {
            *("cpu", "debug", "downcast_bf16", "dynamo_use_dynamic", "dynamo_use_fullgraph", "quiet", "q"),
            *("dynamo_use_regional_compilation", "enable_cpu_affinity", "fp8_use_autocast_during_eval", "multi_gpu"),
            *("no_python", "no_tpu_cluster", "same_network", "tpu", "tpu_cluster", "tpu_use_sudo", "use_deepspeed"),
            *("use_fsdp", "use_megatron_lm", "use_parallelism_config", "use_mps_device"),
        }
    ),
    values=frozenset(
        {
            *("gpu_ids", "machine_rank", "main_process_ip", "main_process_port", "t", "tee", "log_dir", "role", "vm"),
            *("rdzv_backend", "rdzv_conf", "max_restarts", "monitor_interval", "env", "main_training_function"),
            *("deepspeed_hostfile", "deepspeed_multinode_launcher", "aws_access_key_id", "aws_secret_access_key"),
        }
    ),
    counts={"num_machines": NODES, "num_processes": WORLD},
    selects=frozenset({"deepspeed_inclusion_filter"}),
    variables={
        "mixed_precision": "ACCELERATE_MIXED_PRECISION",
        "use_deepspeed": "ACCELERATE_USE_DEEPSPEED",
        "cpu": "ACCELERATE_USE_CPU",
        "debug": "ACCELERATE_DEBUG_MODE",
        "enable_cpu_affinity": "ACCELERATE_CPU_AFFINITY",
        "num_cpu_threads_per_process": "OMP_NUM_THREADS",
        **{f"dynamo_{name}": f"ACCELERATE_DYNAMO_{name.upper()}" for name in _DYNAMO},
        **WITH_DEEPSPEED,
    },
    constant={},
    refused={
        **dict.fromkeys(("use_fsdp", "fsdp_", "use_megatron_lm", "megatron_lm_", "fp8_"), _IN_THE_SCRIPT),
        **dict.fromkeys(("use_parallelism_config", "parallelism_config_"), _IN_THE_SCRIPT),
        **dict.fromkeys(("tpu", "tpu_"), "orch trains on GPUs and CPUs"),
        "mpirun_hostfile": "orch starts the ranks without MPI",
        "deepspeed_exclusion_filter": "which nodes a job gets is the cluster's affair",
    },
    config="config_file",
)
FABRIC = Launcher(
    title="fabric run",
    flags=frozenset(),
    values=frozenset({"node_rank", "main_address", "main_port"}),
    counts={"num_nodes": NODES, "devices": RANKS},
    variables={"accelerator": "LT_ACCELERATOR", "strategy": "LT_STRATEGY", "precision": "LT_PRECISION"},
    constant={"LT_CLI_USED": "1", "LT_DEVICES": "{ranks}", "LT_NUM_NODES": "{nodes}"},
    module=frozenset(),
)
BY_WORDS: Mapping[tuple[str, ...], Launcher] = {
    ("torchrun",): TORCHRUN,
    ("-m", "torch.distributed.run"): TORCHRUN,
    ("-m", "torch.distributed.launch"): TORCHRUN,
    ("deepspeed",): DEEPSPEED,
    ("-m", "deepspeed.launcher.runner"): DEEPSPEED,
    ("accelerate", "launch"): ACCELERATE,
    ("accelerate-launch",): ACCELERATE,
    ("-m", "accelerate.commands.launch"): ACCELERATE,
    ("fabric", "run"): FABRIC,
    ("lightning", "run", "model"): FABRIC,
}
# Programs that are not taken apart, and why: what stands behind them is what to write.
_RANKS, _PYTHON = "it starts ranks, and orch does", "the ranks' Python is the `python` of the cluster"
OTHERS: Mapping[str, str] = {
    **dict.fromkeys(("srun", "mpirun", "mpiexec", "horovodrun", "pdsh", "ssh", "sbatch", "kubectl", "ray"), _RANKS),
    **dict.fromkeys(("uv", "poetry", "pipenv", "pdm", "hatch", "pixi", "conda", "mamba", "micromamba"), _PYTHON),
    **dict.fromkeys(("docker", "podman", "singularity", "apptainer"), "a container's image belongs to the cluster"),
    **dict.fromkeys(
        ("nohup", "sudo", "time", "timeout", "nice", "numactl", "env", "exec"), "orch runs the program itself"
    ),
    **dict.fromkeys(("cd", "source", ".", "export", "set", "ulimit", "module", "eval"), "only a shell knows it"),
}
# Programs that would start a launcher of their own, and the module that does the work of one rank.
MODULES: Mapping[tuple[str, ...], str] = {
    ("trl", "sft"): "trl.scripts.sft",
    ("trl", "dpo"): "trl.scripts.dpo",
    ("trl", "grpo"): "trl.scripts.grpo",
    ("trl", "kto"): "trl.scripts.kto",
    ("trl", "reward"): "trl.scripts.reward",
    ("trl", "rloo"): "trl.scripts.rloo",
    ("axolotl", "train"): "axolotl.cli.train",
    ("llamafactory-cli", "train"): "llamafactory.launcher",
    ("lmf", "train"): "llamafactory.launcher",
}
