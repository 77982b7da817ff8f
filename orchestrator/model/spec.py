"""Spec: what the user asked for. One field here is one key of job.yaml; its help text is the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from orchestrator.model.arguments import OWNED
from orchestrator.model.key import NAME, PATH, SET_BY_LAUNCHER, VARIABLE, Pattern, key, option

Precision = Literal["fp32", "bf16", "fp16"]
Offload = Literal["none", "cpu", "nvme", "auto"]
Launcher = Literal["torchrun", "deepspeed"]


_DIRECTORY = Pattern(
    regex=r"(?!~/|/+$|(attempts|metrics\.jsonl)(/|$))(?!([\s\S]*/)?\.{1,2}(/|$))[\s\S]+",
    words="a directory, without . or .. or ~ in it",
)
_EVERY = Pattern(regex="auto|[1-9][0-9]{0,8}[smh]", words='a time like "90s", "20m" or "2h", or auto')
_KUBERNETES_KEY = Pattern(
    regex=r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[-._a-zA-Z0-9]{1,253}", words="name/key of a Kubernetes Secret"
)
_ANY_VARIABLE = Pattern(regex="[A-Za-z_][A-Za-z0-9_]*", words="the name of an environment variable")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
STDLIB = "stdlib:"  # before a glob: under the library of the Python that trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model: a hub id or local directory (pretrained weights), or an inline config (random weights)."""

    exactly_one: ClassVar[tuple[str, ...]] = ("path", "config")

    path: str | None = option(None, "A hub id or a local directory: pretrained weights.", pattern=PATH)
    revision: str | None = option(None, "Branch, tag or commit of a hub id.")
    config: Mapping[str, Any] | None = option(
        None, "A transformers config with its model_type: random weights.", needs=("model_type",)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training text: files (globs) or a hub dataset, packed into sequences."""

    exactly_one: ClassVar[tuple[str, ...]] = ("files", "dataset")

    files: tuple[str, ...] = option(
        (),
        "Globs of .txt, .jsonl or .parquet files; any other ending is read as text. "
        "`stdlib:` before a glob: under the standard library of the Python that trains.",
        one_or_many=True,
        pattern=PATH,
    )
    dataset: str | None = option(None, "A hub dataset id or a local dataset directory.", pattern=PATH)
    split: str = option("train", "The split of `dataset`.")
    text_field: str = option("text", "The key that holds the text in jsonl, parquet or dataset.")
    sequence_length: int = option(1024, "Tokens in one packed sequence.", minimum=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, how much at once, how fast."""

    exactly_one: ClassVar[tuple[str, ...]] = ("steps", "epochs")

    steps: int | None = option(None, "Optimizer steps.", minimum=1)
    epochs: float | None = option(None, "Passes over the data, instead of steps.", above=0)
    global_batch: int = option(
        8, "Sequences per optimizer step: micro-batch x accumulation x data-parallel ranks.", minimum=1
    )
    micro_batch: int | None = option(
        None, "Sequences per rank and forward pass; chosen by orch when left out.", minimum=1
    )
    learning_rate: float = option(5e-5, "Peak learning rate.", above=0)
    precision: Precision = option("bf16", "Arithmetic of the forward and backward pass.")
    gradient_checkpointing: bool = option(
        False, "Recompute activations in the backward pass: less memory, about a third slower."
    )
    seed: int = option(42, "Seed of weights, data order and dropout.", minimum=0)
    log_every: int = option(1, "Steps between two lines of metrics.", minimum=1)
    args: Mapping[str, Any] = option(dict, "Raw transformers TrainingArguments that orch does not own.", instead=OWNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeed:
    """ZeRO stage, offload, and raw keys of a ds_config laid over what orch renders."""

    zero: Literal[0, 1, 2, 3, "auto"] = option("auto", "ZeRO stage; auto picks the lowest that fits.")
    offload: Offload = option("none", "Where optimizer state (and at stage 3 parameters) live.")
    nvme_path: str | None = option(None, "A directory on a local NVMe disk, for offload: nvme.", pattern=PATH)
    config: Mapping[str, Any] = option(
        dict, "Raw ds_config keys, or the path of a ds_config.json (read as DeepSpeed reads it).", from_file=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the job needs. On the cluster `local` a node is a group of processes."""

    nodes: int = option(1, "Nodes.", minimum=1)
    gpus_per_node: int = option(1, "GPUs, and so ranks, per node.", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where checkpoints go, how often, how many stay."""

    dir: str = option(
        "checkpoints", "Relative: under the run's directory. Absolute: belongs to one run.", pattern=_DIRECTORY
    )
    every: int | str = option("auto", "Steps (20), a time (20m, 2h, 90s) or auto.", minimum=1, pattern=_EVERY)
    keep: int = option(3, "Proven checkpoints to keep.", minimum=1)

    @property
    def every_steps(self) -> int | None:
        """Steps between two checkpoints; None when `every` is a time or auto."""
        return self.every if isinstance(self.every, int) else None

    @property
    def every_seconds(self) -> int | None:
        """Seconds between two checkpoints; None when `every` is in steps or auto."""
        if isinstance(self.every, int) or self.every == "auto":
            return None
        return int(self.every[:-1]) * _SECONDS[self.every[-1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """When to stop trying."""

    max_failures: int = option(
        5, "Failures in a row without a new proven checkpoint that a run survives; one more ends it.", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is read, on the machine where the job runs. Its value never enters a file of orch's."""

    exactly_one: ClassVar[tuple[str, ...]] = ("env", "file", "kubernetes")

    env: str | None = option(None, "An environment variable of the submitting process.", pattern=_ANY_VARIABLE)
    file: str | None = option(None, "A file that only you can read.", pattern=PATH)
    kubernetes: str | None = option(None, "name/key of an existing Kubernetes Secret.", pattern=_KUBERNETES_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One job. Either `model`, `data` and `training`, or `run` with a script of your own."""

    name: str = field(metadata=key("Names the run: lower-case letters, digits and dashes, 1-40.", pattern=NAME))
    model: Model | None = option(None, "The model; a text alone is its path.", shorthand="path")
    tokenizer: str | None = option(
        None, "`bytes`, a hub id or a directory; default: the model's own, with an inline config bytes.", pattern=PATH
    )
    data: Data | None = option(None, "Training text.")
    training: Training | None = option(None, "How long, how much at once, how fast.")
    deepspeed: DeepSpeed = option(DeepSpeed, "ZeRO and the ds_config.")
    resources: Resources = option(Resources, "Nodes and GPUs.")
    checkpoint: Checkpoint = option(Checkpoint, "Checkpoints.")
    restart: Restart = option(Restart, "When to stop trying.")
    launcher: Launcher = option("torchrun", "What starts the ranks of a node.")
    env: Mapping[str, str] = option(dict, "Environment of the job.", names=VARIABLE, instead=SET_BY_LAUNCHER)
    secrets: Mapping[str, Secret] = option(
        dict, "Environment read where the job runs.", names=VARIABLE, instead=SET_BY_LAUNCHER
    )
    code: str | None = option(None, "A directory whose snapshot goes with the job (respects .gitignore).", pattern=PATH)
    instrument: bool = option(
        True, "Follow the libraries that the script imports: steps, losses, proven checkpoints. false: leave it alone."
    )
    run: str | None = option(
        None,
        "Your own command (torchrun, python, accelerate launch, a shell script, ...), instead of model/data/training.",
    )
