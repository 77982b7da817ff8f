"""Mistakes in a final ds_config that DeepSpeed accepts, or finds only when the ranks are up. One rule a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.errors import JobError
from orchestrator.model.spec import Training
from orchestrator.planner.dscase import Case
from orchestrator.planner.dscheck import AUTO, place
from orchestrator.planner.dsoptimizer import optimizer_problems, scheduler_problems

Problem = JobError | None
Rule = Callable[[Case], Problem]


def problems_of(case: Case) -> Iterator[JobError]:
    """All that is wrong."""
    for rule in RULES:
        problem = rule(case)
        if problem is not None:
            yield problem
    yield from optimizer_problems(case)
    yield from scheduler_problems(case)


def _zero_problem(message: str, hint: str, *path: str) -> JobError:
    return JobError(message, hint=hint, field=place(("zero_optimization", *path)))


def _nvme_path(case: Case) -> Problem:
    for name in ("offload_optimizer", "offload_param"):
        if case.zero(name, "device") == "nvme" and not case.zero(name, "nvme_path"):
            return JobError(
                f"is missing, and {name} goes to nvme",
                hint="Name a directory on a local NVMe disk of every node.",
                field="deepspeed.nvme_path",
            )
    return None


def _nvme_gathered(case: Case) -> Problem:
    key = "stage3_gather_16bit_weights_on_model_save"
    devices = {case.zero(name, "device") for name in ("offload_optimizer", "offload_param")}
    if "nvme" in devices and case.zero(key) is False:
        return _zero_problem("false makes every save fail with offload to nvme", "Write true.", key)
    return None


def _partial_offload(case: Case) -> Problem:
    ratio = case.zero("offload_optimizer", "ratio")
    if ratio is not None and ratio < 1 and case.stage != 3:
        return _zero_problem(
            f"a ratio of {ratio} needs ZeRO stage 3, and the stage is {case.stage}",
            "Write deepspeed.zero: 3, or a ratio of 1.",
            "offload_optimizer",
            "ratio",
        )
    return None


def _super_offload(case: Case) -> Problem:
    if case.zero("offload_optimizer", "super_offload") and case.stage != 3:
        return _zero_problem(
            f"super_offload needs ZeRO stage 3, and the stage is {case.stage}",
            "Write deepspeed.zero: 3.",
            "offload_optimizer",
            "super_offload",
        )
    return None


def _grad_norm(case: Case) -> Problem:
    if case.zero("compute_grad_norm") is not False:
        return None
    if case.stage not in (1, 2):
        return _zero_problem(
            f"false works at ZeRO stages 1 and 2, and the stage is {case.stage}", "Remove the key.", "compute_grad_norm"
        )
    if case.at("gradient_clipping") != 0 or case.zero("offload_optimizer", "device") not in (None, "none"):
        return _zero_problem("false needs gradient_clipping: 0 and no offload", "Remove the key.", "compute_grad_norm")
    return None


def _secondary_partition(case: Case) -> Problem:
    size = case.zero("zero_hpz_partition_size")
    if size in (None, 0, 1):
        return None
    if case.topology.world_size % size:
        return _zero_problem(
            f"{case.topology.world_size} ranks cannot be divided into groups of {size}",
            f"Use the ranks of a node, {case.topology.ranks_per_node}.",
            "zero_hpz_partition_size",
        )
    return None


def _summed_gradients(case: Case) -> Problem:
    summed = str(case.at("gradient_allreduce_op") or "").lower() == "sum"
    if summed and (case.stage == 3 or case.zero("zenflow") is not None):
        return JobError(
            "sum works neither at ZeRO stage 3 nor with zenflow",
            hint="Remove the key.",
            field=place(("gradient_allreduce_op",)),
        )
    return None


def _half_masters(case: Case) -> Problem:
    for half, key in (
        ("fp16", "fp16_master_weights_and_grads"),
        ("bf16", "bf16_master_weights_and_grads"),
        ("bf16", "bf16_optimizer_states"),
    ):
        if case.at(half, key) and case.stage == 0:
            return JobError(f"{key} needs ZeRO stage 1, 2 or 3", hint="Remove the key.", field=place((half, key)))
    if case.at("bf16", "bf16_optimizer_states") and not case.at("bf16", "bf16_master_weights_and_grads"):
        return JobError(
            "needs bf16_master_weights_and_grads: true",
            hint="Write both, or neither.",
            field=place(("bf16", "bf16_optimizer_states")),
        )
    return None


def _loss_scaling(case: Case) -> Problem:
    if not case.at("fp16", "enabled") or case.at("fp16", "loss_scale"):
        return None
    for key in ("loss_scale_window", "min_loss_scale"):
        value = case.at("fp16", key)
        if value is not None and value <= 0:
            return JobError(f"{value} is no {key}: dynamic loss scaling needs at least 1", field=place(("fp16", key)))
    return None


def _precision_of(case: Case) -> str | None:
    """None where a script's own arguments decide."""
    if AUTO in (_enabled(case, "bf16"), _enabled(case, "fp16")):
        return None
    return next((half for half in ("bf16", "fp16") if _enabled(case, half) is True), "fp32")


def _enabled(case: Case, half: str) -> Any:
    section = case.config.get(half)
    return section.get("enabled") if isinstance(section, Mapping) else None


_DTYPES = {
    **dict.fromkeys(("fp32", "float32", "float", "torch.float32"), "fp32"),
    **dict.fromkeys(("bf16", "bfloat16", "torch.bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "float16", "half", "torch.float16"), "fp16"),
}


def _data_types(case: Case) -> Problem:
    precision = _precision_of(case)
    parameters, gradients = (
        _DTYPES.get(case.at("data_types", key) or "") for key in ("param_dtype", "grad_accum_dtype")
    )
    if precision is not None and parameters not in (None, precision):
        return JobError(
            f"{parameters} contradicts the precision, which is {precision}",
            hint="Remove the key, or change training.precision.",
            field=place(("data_types", "param_dtype")),
        )
    if precision is not None and case.stage == 0 and gradients not in (None, precision):
        return JobError(
            f"{gradients} gradients with {precision} parameters need ZeRO stage 1, 2 or 3",
            hint="Remove the key, or write deepspeed.zero: 1.",
            field=place(("data_types", "grad_accum_dtype")),
        )
    return None


def _decoupled_writer(case: Case) -> Problem:
    if case.at("checkpoint", "writer", "decoupled") and case.spec.launcher == "torchrun":
        return JobError(
            "needs CROSS_RANK and CROSS_SIZE, which torchrun does not set",
            hint="Write launcher: deepspeed, or remove the key.",
            field=place(("checkpoint", "writer", "decoupled")),
        )
    return None


def _trainer_arguments(case: Case) -> Problem:
    """Hugging Face's Trainer compares these with its own arguments when the ranks are up."""
    training = case.spec.training
    if training is None:
        return None
    for path, ours, wanted in _counterparts(training):
        value = case.at(*path)
        value = list(value) if isinstance(value, tuple) else value
        if value is not None and wanted is not None and value != wanted:
            return JobError(
                f"{value} contradicts {ours}, which is {wanted}",
                hint=f"Remove the raw key, or write {ours}: {value}.",
                field=place(path),
            )
    return None


def _counterparts(training: Training) -> tuple[tuple[tuple[str, ...], str, Any], ...]:
    args = training.args
    steps = args.get("warmup_steps", 0)
    warmup = max(1, steps) if isinstance(steps, int) else None
    given = "adam_beta1" in args or "adam_beta2" in args
    betas = [args.get("adam_beta1", 0.9), args.get("adam_beta2", 0.999)] if given else None
    return (
        (("gradient_clipping",), "training.args.max_grad_norm", args.get("max_grad_norm")),
        (("optimizer", "params", "lr"), "training.learning_rate", training.learning_rate),
        (("optimizer", "params", "betas"), "training.args.adam_beta1 and adam_beta2", betas),
        (("optimizer", "params", "eps"), "training.args.adam_epsilon", args.get("adam_epsilon")),
        (("optimizer", "params", "weight_decay"), "training.args.weight_decay", args.get("weight_decay")),
        (("scheduler", "params", "warmup_max_lr"), "training.learning_rate", training.learning_rate),
        (("scheduler", "params", "warmup_num_steps"), "training.args.warmup_steps", warmup),
        (("scheduler", "params", "total_num_steps"), "training.steps", training.steps),
    )


RULES: tuple[Rule, ...] = (
    _nvme_path,
    _nvme_gathered,
    _partial_offload,
    _super_offload,
    _grad_norm,
    _secondary_partition,
    _summed_gradients,
    _half_masters,
    _loss_scaling,
    _data_types,
    _decoupled_writer,
    _trainer_arguments,
)
