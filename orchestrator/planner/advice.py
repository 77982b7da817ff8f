"""What is allowed and worth knowing before the job starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.model.plan import DsConfig, Topology
from orchestrator.model.spec import Spec
from orchestrator.planner.dscheck import AUTO, BATCH, TRAINER_FILLS, place
from orchestrator.planner.settings import given

NO_BATCH = (
    "Batch sizes in ds_config.json are auto, which Hugging Face's Trainer fills; a script that gives the file to "
    "deepspeed itself needs deepspeed.config: {train_batch_size: ...}."
)
_INEXACT = "losses after a resume differ by about 1e-6 from those of an uninterrupted run"


def advise(spec: Spec, topology: Topology, raw: DsConfig, config: DsConfig) -> tuple[str, ...]:
    """One sentence for each thing, the weightiest first. `raw`: the job's own keys, checked."""
    return (
        *_inexact_resume(config),
        *_short_of_a_checkpoint(spec),
        *_slow_half(config, topology),
        *_slow_offload(config),
        *_without_effect(raw, config),
        *_filled_by_the_trainer(spec, raw),
        *_without_batch(spec, raw),
    )


def _inexact_resume(config: DsConfig) -> Iterator[str]:
    optimizer = config.get("optimizer")
    if optimizer is not None and not optimizer.get("params", {}).get("torch_adam"):
        yield (
            f"The optimizer section selects DeepSpeed's own optimizer: on a CPU or with offload, {_INEXACT}. "
            "optimizer.params.torch_adam: true keeps them bit-identical."
        )
    elif optimizer is None and _offloaded(config) and config.get("zero_force_ds_cpu_optimizer", True):
        yield (
            "zero_force_ds_cpu_optimizer has accelerate take DeepSpeed's CPU Adam in place of the Trainer's optimizer: "
            f"faster, but {_INEXACT}. Without accelerate DeepSpeed refuses a script's own optimizer."
        )


def _slow_offload(config: DsConfig) -> Iterator[str]:
    if _offloaded(config) and "optimizer" not in config and not config.get("zero_force_ds_cpu_optimizer", True):
        yield (
            "With offload the optimizer step is torch's AdamW on the CPU, so that a resume is bit-identical. "
            "DeepSpeed's CPU Adam is faster: deepspeed.config: {optimizer: {type: AdamW}}."
        )


def _offloaded(config: DsConfig) -> bool:
    section = config["zero_optimization"].get("offload_optimizer", {})
    return bool(section.get("device", "none") != "none")


def _short_of_a_checkpoint(spec: Spec) -> Iterator[str]:
    every, steps = spec.checkpoint.every_steps, spec.training.steps if spec.training else None
    if every is not None and steps is not None and every > steps:
        yield f"checkpoint.every is {every} and the run has {steps} steps: a failure before its end starts over."


def _slow_half(config: DsConfig, topology: Topology) -> Iterator[str]:
    if topology.device == "cpu" and config.get("fp16", {}).get("enabled") is True:
        yield "fp16 is slow on a CPU, and not every CPU has it: use fp32 or bf16."


def _without_effect(raw: DsConfig, config: DsConfig) -> Iterator[str]:
    """A two-stage comparison often leaves stage 3's keys in place, so they are no error."""
    stage = config["zero_optimization"]["stage"]
    asked = raw.get("zero_optimization", {})
    idle = [key for key in asked if key.startswith("stage3_") or key == "sub_group_size"] if stage < 3 else []
    if idle:
        yield f"Without effect below ZeRO stage 3, and the stage is {stage}: {', '.join(idle)}."


def _filled_by_the_trainer(spec: Spec, raw: DsConfig) -> Iterator[str]:
    """In fp16, bf16 and zero_optimization DeepSpeed itself reads `auto` as its default."""
    read = ("fp16", "bf16", "zero_optimization")
    left = sorted(place(path) for path in TRAINER_FILLS if path[0] not in read and _auto(raw, path))
    if spec.run is not None and left:
        yield (
            f"{AUTO} is filled by Hugging Face's Trainer and by accelerate; a script that gives the file to "
            f"deepspeed.initialize itself fails there: {', '.join(left)}."
        )


def _without_batch(spec: Spec, raw: DsConfig) -> Iterator[str]:
    if spec.run is not None and raw and not any(key in raw for key in BATCH[:2]):
        yield NO_BATCH


def _auto(raw: DsConfig, path: tuple[str, ...]) -> bool:
    *above, key = path
    section = given(raw, *above)
    return isinstance(section, Mapping) and section.get(key) == AUTO
