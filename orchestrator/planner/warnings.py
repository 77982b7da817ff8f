"""What is allowed and worth knowing before the job starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.model.plan import Batch, Topology
from orchestrator.model.spec import Spec


def warn(spec: Spec, topology: Topology, batch: Batch | None, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences, in the order of their weight."""
    return (
        *_inexact_resume(config),
        *_short_of_a_checkpoint(spec),
        *_slow_half(config, topology),
        *_slow_offload(config),
        *_batch_left_to_the_script(batch, config),
    )


def _inexact_resume(config: Mapping[str, Any]) -> Iterator[str]:
    optimizer = config.get("optimizer")
    offloaded = config["zero_optimization"].get("offload_optimizer", {}).get("device", "none") != "none"
    forced = offloaded and config.get("zero_force_ds_cpu_optimizer", True)
    if isinstance(optimizer, Mapping) and not optimizer.get("params", {}).get("torch_adam"):
        yield (
            "The optimizer section selects DeepSpeed's own optimizer: on a CPU or with offload, losses after a resume differ "
            "by about 1e-6 from those of an uninterrupted run. optimizer.params.torch_adam: true keeps them bit-identical."
        )
    elif optimizer is None and forced:
        yield (
            "zero_force_ds_cpu_optimizer selects DeepSpeed's CPU Adam: faster, and losses after a resume differ by about 1e-6 "
            "from those of an uninterrupted run."
        )


def _slow_offload(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("zero_force_ds_cpu_optimizer", True) is False and "optimizer" not in config:
        yield (
            "With offload the optimizer step is torch's AdamW on the CPU, so that a resume is bit-identical; DeepSpeed's CPU "
            "Adam is faster: deepspeed.config: {zero_force_ds_cpu_optimizer: true}."
        )


def _short_of_a_checkpoint(spec: Spec) -> Iterator[str]:
    every, steps = spec.checkpoint.every, spec.training.steps if spec.training else None
    if isinstance(every, int) and steps is not None and every > steps:
        yield f"checkpoint.every is {every} and the run has {steps} steps: a failure before its end starts over."


def _slow_half(config: Mapping[str, Any], topology: Topology) -> Iterator[str]:
    if topology.device == "cpu" and config.get("fp16", {}).get("enabled") is True:
        yield "fp16 is slow on a CPU, and not every CPU has it: use fp32 or bf16."


def _batch_left_to_the_script(batch: Batch | None, config: Mapping[str, Any]) -> Iterator[str]:
    if batch is None and config.get("train_batch_size") == "auto":
        yield (
            "The batch sizes in ds_config.json are auto, which Hugging Face's Trainer fills; a script that gives the file to "
            "deepspeed itself needs deepspeed.config: {train_batch_size: ...}."
        )
