"""The options of the launchers that people write before their scripts: which take a value, and what they mean here.

From the parsers of torch 2.15 (torch.distributed.run), deepspeed 0.19 (launcher.runner), accelerate 1.15 (launch) and
lightning 2.6 (fabric); a test compares the flags with those of the installed ones. Names are written with underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NODES, RANKS, WORLD = "nodes", "ranks", "world"  # of the job: its nodes, the ranks of one, all ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """`flags` take no value. `counts`: options that must agree with the job. `variables`: those that the script gets.

    `constant`: variables that the launcher always sets. `refused`: names, or prefixes that end in an underscore, of
    options that orch cannot hand on.
    """

    title: str
    flags: frozenset[str]
    counts: Mapping[str, str]
    variables: Mapping[str, str]
    constant: Mapping[str, str]
    refused: tuple[str, ...] = ()
    module: frozenset[str] = frozenset({"m", "module"})
    config: str | None = None  # the option that names its own configuration file


TORCHRUN = Launcher(
    title="torchrun",
    flags=frozenset({"no_python", "run_path", "standalone", "use_env", "virtual_local_rank"}),
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
    counts={"num_nodes": NODES, "num_gpus": RANKS, "num_accelerators": RANKS},
    variables={},
    constant={},
    refused=("autotuning", "elastic_training", "include", "exclude", "i", "e"),
    module=frozenset({"module"}),
)
_PLUGIN = (
    *("zero_stage", "offload_optimizer_device", "offload_param_device", "offload_optimizer_nvme_path"),
    *("offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model"),
)
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
    counts={"num_machines": NODES, "num_processes": WORLD},
    variables={
        "mixed_precision": "ACCELERATE_MIXED_PRECISION",
        "gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
        "use_deepspeed": "ACCELERATE_USE_DEEPSPEED",
        "deepspeed_config_file": "ACCELERATE_DEEPSPEED_CONFIG_FILE",
        **{name: f"ACCELERATE_DEEPSPEED_{name.upper()}" for name in _PLUGIN},
    },
    constant={},
    refused=(
        "use_fsdp",
        "fsdp_",
        "use_megatron_lm",
        "megatron_lm_",
        "dynamo_",
        "fp8_",
        "tpu",
        "use_parallelism_config",
    ),
    config="config_file",
)
FABRIC = Launcher(
    title="fabric run",
    flags=frozenset(),
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
# Programs that start ranks and are not taken apart: what stands behind them is what to write.
OTHERS = frozenset({"srun", "mpirun", "mpiexec", "horovodrun", "pdsh", "ssh", "nohup", "sbatch", "kubectl", "ray"})
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
