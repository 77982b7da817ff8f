"""Other names for keys of job.yaml, as other launchers and libraries have them."""

from __future__ import annotations

from collections.abc import Mapping

_OTHERS = {
    "run": "command cmd script entrypoint main program",
    "code": "workdir working_dir src",
    "env": "environment envs env_vars",
    "model.path": "model_name_or_path model_name base_model pretrained_model_name_or_path checkpoint_path",
    "tokenizer": "tokenizer_name tokenizer_name_or_path tokenizer_path",
    "data.files": "data_files train_file train_files train_data data_path",
    "data.dataset": "dataset_name datasets",
    "data.sequence_length": "max_seq_length max_seq_len seq_length seq_len max_length block_size cutoff_len"
    " sequence_len context_length model_max_length",
    "data.text_field": "text_column dataset_text_field",
    "training.steps": "max_steps num_steps train_steps total_steps max_iters",
    "training.epochs": "num_train_epochs num_epochs max_epochs epoch",
    "training.global_batch": "batch_size global_batch_size train_batch_size total_batch_size",
    "training.micro_batch": "per_device_train_batch_size micro_batch_size train_micro_batch_size_per_gpu"
    " per_gpu_batch_size mbs",
    "training.learning_rate": "lr max_lr peak_lr",
    "training.precision": "bf16 fp16 mixed_precision dtype torch_dtype",
    "training.gradient_checkpointing": "activation_checkpointing recompute",
    "training.log_every": "logging_steps log_interval log_steps",
    "training.args": "training_args training_arguments trainer_args",
    "deepspeed.zero": "zero_stage stage zero_optimization",
    "deepspeed.config": "ds_config deepspeed_config",
    "resources.nodes": "num_nodes nnodes n_nodes replicas num_machines node_count",
    "resources.gpus_per_node": "gpus num_gpus ngpus n_gpus nproc_per_node gpu ntasks_per_node num_processes devices",
    "checkpoint.dir": "output_dir save_dir checkpoint_dir out_dir",
    "checkpoint.every": "save_steps save_interval save_every checkpoint_every save_freq",
    "checkpoint.keep": "save_total_limit keep_last max_to_keep",
    "restart.max_failures": "max_restarts retries max_retries backoff_limit",
}
SYNONYMS: Mapping[str, str] = {name: key for key, names in _OTHERS.items() for name in names.split()}

# What a job leaves to the cluster that it is sent to.
OF_A_PROFILE = frozenset(
    {
        "partition", "account", "qos", "time_limit", "walltime", "time", "constraint", "image", "container",
        "namespace", "queue", "node_selector", "hosts", "hostfile", "python", "modules", "setup", "shared_dir",
    }
)  # fmt: skip
