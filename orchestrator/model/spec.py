"""Spec: what the user asked for. One field here is one key of job.yaml; its help text is the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from orchestrator.model.arguments import OWNED
from orchestrator.model.key import NAME, PATH, SET_BY_LAUNCHER, VARIABLE, Pattern, key

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

    path: str | None = field(
        default=None, metadata=key("A hub id or a local directory: pretrained weights.", pattern=PATH)
    )
    revision: str | None = field(default=None, metadata=key("Branch, tag or commit of a hub id."))
    config: Mapping[str, Any] | None = field(
        default=None, metadata=key("A transformers config with its model_type: random weights.", needs=("model_type",))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Training text: files (globs) or a hub dataset, packed into sequences."""

    exactly_one: ClassVar[tuple[str, ...]] = ("files", "dataset")

    files: tuple[str, ...] = field(
        default=(),
        metadata=key(
            "Globs of .txt, .jsonl or .parquet files; any other ending is read as text. "
            "`stdlib:` before a glob: under the standard library of the Python that trains.",
            one_or_many=True,
            pattern=PATH,
        ),
    )
    dataset: str | None = field(
        default=None, metadata=key("A hub dataset id or a local dataset directory.", pattern=PATH)
    )
    split: str = field(default="train", metadata=key("The split of `dataset`."))
    text_field: str = field(default="text", metadata=key("The key that holds the text in jsonl, parquet or dataset."))
    sequence_length: int = field(default=1024, metadata=key("Tokens in one packed sequence.", minimum=2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How long, how much at once, how fast."""

    exactly_one: ClassVar[tuple[str, ...]] = ("steps", "epochs")

    steps: int | None = field(default=None, metadata=key("Optimizer steps.", minimum=1))
    epochs: float | None = field(default=None, metadata=key("Passes over the data, instead of steps.", above=0))
    global_batch: int = field(
        default=8,
        metadata=key("Sequences per optimizer step: micro-batch x accumulation x data-parallel ranks.", minimum=1),
    )
    micro_batch: int | None = field(
        default=None, metadata=key("Sequences per rank and forward pass; chosen by orch when left out.", minimum=1)
    )
    learning_rate: float = field(default=5e-5, metadata=key("Peak learning rate.", above=0))
    precision: Precision = field(default="bf16", metadata=key("Arithmetic of the forward and backward pass."))
    gradient_checkpointing: bool = field(
        default=False, metadata=key("Recompute activations in the backward pass: less memory, about a third slower.")
    )
    seed: int = field(default=42, metadata=key("Seed of weights, data order and dropout.", minimum=0))
    log_every: int = field(default=1, metadata=key("Steps between two lines of metrics.", minimum=1))
    args: Mapping[str, Any] = field(
        default_factory=dict, metadata=key("Raw transformers TrainingArguments that orch does not own.", instead=OWNED)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeed:
    """ZeRO stage, offload, and raw keys of a ds_config laid over what orch renders."""

    zero: Literal[0, 1, 2, 3, "auto"] = field(
        default="auto", metadata=key("ZeRO stage; auto picks the lowest that fits.")
    )
    offload: Offload = field(default="none", metadata=key("Where optimizer state (and at stage 3 parameters) live."))
    nvme_path: str | None = field(
        default=None, metadata=key("A directory on a local NVMe disk, for offload: nvme.", pattern=PATH)
    )
    config: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=key("Raw ds_config keys, or the path of a ds_config.json (// comments allowed).", from_file=True),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the job needs. On the cluster `local` a node is a group of processes."""

    nodes: int = field(default=1, metadata=key("Nodes.", minimum=1))
    gpus_per_node: int = field(default=1, metadata=key("GPUs, and so ranks, per node.", minimum=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where checkpoints go, how often, how many stay."""

    dir: str = field(
        default="checkpoints",
        metadata=key("Relative: under the run's directory. Absolute: belongs to one run.", pattern=_DIRECTORY),
    )
    every: int | str = field(
        default="auto", metadata=key("Steps (20), a time (20m, 2h, 90s) or auto.", minimum=1, pattern=_EVERY)
    )
    keep: int = field(default=3, metadata=key("Proven checkpoints to keep.", minimum=1))

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

    max_failures: int = field(
        default=5,
        metadata=key(
            "Failures in a row without a new proven checkpoint that a run survives; one more ends it.", minimum=0
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is read, on the machine where the job runs. Its value never enters a file of orch's."""

    exactly_one: ClassVar[tuple[str, ...]] = ("env", "file", "kubernetes")

    env: str | None = field(
        default=None, metadata=key("An environment variable of the submitting process.", pattern=_ANY_VARIABLE)
    )
    file: str | None = field(default=None, metadata=key("A file that only you can read.", pattern=PATH))
    kubernetes: str | None = field(
        default=None, metadata=key("name/key of an existing Kubernetes Secret.", pattern=_KUBERNETES_KEY)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One job. Either `model`, `data` and `training`, or `run` with a script of your own."""

    name: str = field(metadata=key("Names the run: lower-case letters, digits and dashes, 1-40.", pattern=NAME))
    model: Model | None = field(default=None, metadata=key("The model; a text alone is its path.", shorthand="path"))
    tokenizer: str | None = field(
        default=None,
        metadata=key(
            "`bytes`, a hub id or a directory; default: the model's own, with an inline config bytes.", pattern=PATH
        ),
    )
    data: Data | None = field(default=None, metadata=key("Training text."))
    training: Training | None = field(default=None, metadata=key("How long, how much at once, how fast."))
    deepspeed: DeepSpeed = field(default_factory=DeepSpeed, metadata=key("ZeRO and the ds_config."))
    resources: Resources = field(default_factory=Resources, metadata=key("Nodes and GPUs."))
    checkpoint: Checkpoint = field(default_factory=Checkpoint, metadata=key("Checkpoints."))
    restart: Restart = field(default_factory=Restart, metadata=key("When to stop trying."))
    launcher: Launcher = field(default="torchrun", metadata=key("What starts the ranks of a node."))
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=key("Environment of the job.", names=VARIABLE, instead=SET_BY_LAUNCHER)
    )
    secrets: Mapping[str, Secret] = field(
        default_factory=dict,
        metadata=key("Environment read where the job runs.", names=VARIABLE, instead=SET_BY_LAUNCHER),
    )
    code: str | None = field(
        default=None, metadata=key("A directory whose snapshot goes with the job (respects .gitignore).", pattern=PATH)
    )
    run: str | None = field(
        default=None, metadata=key("Your own script and its arguments, instead of model/data/training.")
    )
