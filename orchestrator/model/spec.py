"""Spec: what the user asked for. One field here is one key of job.yaml; its help text is the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scalar = str | int | float | bool | None
Precision = Literal["fp32", "bf16", "fp16"]
Offload = Literal["none", "cpu", "nvme", "auto"]
Launcher = Literal["torchrun", "deepspeed"]


def _key(help: str, **constraints: Any) -> dict[str, Any]:
    return {"help": help, **constraints}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model: a hub id or local directory (pretrained weights), or an inline config (random weights)."""

    path: str | None = field(default=None, metadata=_key("A hub id or a local directory: pretrained weights."))
    revision: str | None = field(default=None, metadata=_key("Branch, tag or commit of a hub id."))
    config: Mapping[str, Any] | None = field(
        default=None, metadata=_key("A transformers config with its model_type: random weights.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training text: files (globs) or a hub dataset, packed into sequences."""

    files: tuple[str, ...] = field(
        default=(), metadata=_key("Globs of .txt, .jsonl or .parquet files; any other ending is read as text.")
    )
    dataset: str | None = field(default=None, metadata=_key("A hub dataset id or a local dataset directory."))
    split: str = field(default="train", metadata=_key("The split of `dataset`."))
    text_field: str = field(default="text", metadata=_key("The key that holds the text in jsonl, parquet or dataset."))
    sequence_length: int = field(default=1024, metadata=_key("Tokens in one packed sequence.", minimum=2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, how much at once, how fast."""

    steps: int | None = field(default=None, metadata=_key("Optimizer steps.", minimum=1))
    epochs: float | None = field(default=None, metadata=_key("Passes over the data, instead of steps.", above=0))
    global_batch: int = field(
        default=8,
        metadata=_key("Sequences per optimizer step: micro-batch x accumulation x data-parallel ranks.", minimum=1),
    )
    micro_batch: int | None = field(
        default=None, metadata=_key("Sequences per rank and forward pass; chosen by orch when left out.", minimum=1)
    )
    learning_rate: float = field(default=5e-5, metadata=_key("Peak learning rate.", above=0))
    precision: Precision = field(default="bf16", metadata=_key("Arithmetic of the forward and backward pass."))
    gradient_checkpointing: bool = field(
        default=False, metadata=_key("Recompute activations in the backward pass: less memory, about a third slower.")
    )
    seed: int = field(default=42, metadata=_key("Seed of weights, data order and dropout.", minimum=0))
    log_every: int = field(default=1, metadata=_key("Steps between two lines of metrics.", minimum=1))
    args: Mapping[str, Any] = field(
        default_factory=dict, metadata=_key("Raw transformers TrainingArguments that orch does not own.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeed:
    """ZeRO stage, offload, and raw keys of a ds_config laid over what orch renders."""

    zero: Literal[0, 1, 2, 3, "auto"] = field(default="auto", metadata=_key("ZeRO stage; auto picks the lowest that fits."))
    offload: Offload = field(default="none", metadata=_key("Where optimizer state (and at stage 3 parameters) live."))
    nvme_path: str | None = field(default=None, metadata=_key("A directory on a local NVMe disk, for offload: nvme."))
    config: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_key("Raw ds_config keys, or the path of a ds_config.json (// comments allowed)."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the job needs. On the cluster `local` a node is a group of processes."""

    nodes: int = field(default=1, metadata=_key("Nodes.", minimum=1))
    gpus_per_node: int = field(default=1, metadata=_key("GPUs, and so ranks, per node.", minimum=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where checkpoints go, how often, how many stay."""

    dir: str = field(
        default="checkpoints", metadata=_key("Relative: under the run's directory. Absolute: belongs to one run.")
    )
    every: int | str = field(default="auto", metadata=_key("Steps (20), a time (20m, 2h, 90s) or auto."))
    keep: int = field(default=3, metadata=_key("Proven checkpoints to keep.", minimum=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """When to stop trying."""

    max_failures: int = field(
        default=5,
        metadata=_key("Failures in a row without a new proven checkpoint that a run survives; one more ends it.", minimum=0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is read, on the machine where the job runs. Its value never enters a file of orch's."""

    env: str | None = field(default=None, metadata=_key("An environment variable of the submitting process."))
    file: str | None = field(default=None, metadata=_key("A file that only you can read."))
    kubernetes: str | None = field(default=None, metadata=_key("name/key of an existing Kubernetes Secret."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One job. Either `model`, `data` and `training`, or `run` with a script of your own."""

    name: str = field(metadata=_key("Names the run: letters, digits and dashes, 1-40 characters."))
    model: Model | None = field(default=None, metadata=_key("The model."))
    tokenizer: str | None = field(
        default=None, metadata=_key("`bytes`, a hub id or a directory; default: the model's own, with an inline config bytes.")
    )
    data: Data | None = field(default=None, metadata=_key("Training text."))
    training: Training | None = field(default=None, metadata=_key("How long, how much at once, how fast."))
    deepspeed: DeepSpeed = field(default_factory=DeepSpeed, metadata=_key("ZeRO and the ds_config."))
    resources: Resources = field(default_factory=Resources, metadata=_key("Nodes and GPUs."))
    checkpoint: Checkpoint = field(default_factory=Checkpoint, metadata=_key("Checkpoints."))
    restart: Restart = field(default_factory=Restart, metadata=_key("When to stop trying."))
    launcher: Launcher = field(default="torchrun", metadata=_key("What starts the ranks of a node."))
    env: Mapping[str, str] = field(default_factory=dict, metadata=_key("Environment of the job."))
    secrets: Mapping[str, Secret] = field(default_factory=dict, metadata=_key("Environment read where the job runs."))
    code: str | None = field(
        default=None, metadata=_key("A directory whose snapshot goes with the job (respects .gitignore).")
    )
    run: str | None = field(default=None, metadata=_key("Your own script and its arguments, instead of model/data/training."))
