"""Mistakes in the optimizer and scheduler sections, which DeepSpeed finds when it makes them, with all ranks up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.errors import JobError
from orchestrator.job.nearest import misspelt, nearest
from orchestrator.planner.dscase import Case
from orchestrator.planner.dscheck import place
from orchestrator.planner.dsschema import Optimizer, table

# What people write, from other libraries, for what DeepSpeed and torch call otherwise.
_MEANT = {
    "learning_rate": "write lr",
    "adam_epsilon": "write eps",
    "epsilon": "write eps",
    "beta1": "write betas: [BETA1, BETA2]",
    "beta2": "write betas: [BETA1, BETA2]",
    "adam_beta1": "write betas: [BETA1, BETA2]",
    "adam_beta2": "write betas: [BETA1, BETA2]",
    "max_grad_norm": "write gradient_clipping, beside the optimizer section",
    "gradient_clipping": "it belongs beside the optimizer section",
    "adamw_mode": "write adam_w_mode",
    "freeze_step": "it belonged to the 1-bit optimizers, which were removed",
    "cuda_aware": "it belonged to the 1-bit optimizers, which were removed",
    "comm_backend_name": "it belonged to the 1-bit optimizers, which were removed",
    "warmup_steps": "it belongs into the scheduler section",
    "warmup_ratio": "write warmup_num_steps, in steps",
    "num_warmup_steps": "write warmup_num_steps",
    "num_training_steps": "write total_num_steps",
    "max_lr": "write warmup_max_lr, or cycle_max_lr",
    "min_lr": "write warmup_min_lr, or cycle_min_lr",
}
_VARIANTS = {
    "": "the GPU's own one has it",
    "offload": "with offload it has",
    "torch_adam": "with torch_adam: true it has",
}


def optimizer_problems(case: Case) -> Iterator[JobError]:
    """What is wrong with the optimizer section, if there is one."""
    if "optimizer" not in case.config:
        return
    name = case.at("optimizer", "type")
    if name is None:
        yield JobError("is missing", hint="Name one, or remove the section.", field=place(("optimizer", "type")))
        return
    known = table().optimizer(name)
    if known is None:
        yield _no_optimizer(name)
    else:
        yield from _parameters(case, name, known)
    if str(name).lower() == "lamb" and case.at("fp16", "loss_scale"):
        yield JobError(
            "Lamb needs dynamic loss scaling",
            hint="Write loss_scale: 0, or remove it.",
            field=place(("fp16", "loss_scale")),
        )


def _no_optimizer(name: str) -> JobError:
    field = place(("optimizer", "type"))
    names = table().optimizers
    for removed, what in table().removed_optimizers.items():
        if removed.lower() == name.lower():
            return JobError(f"{removed} {what}", field=field)
    near = next((each for each in names if each.lower() == name.lower()), None) or nearest(name, names)
    meant = f"; did you mean {near}?" if near else ""
    hint = None if near else f"It has {', '.join(names)}."
    return JobError(f"DeepSpeed {table().deepspeed} and torch have no optimizer {name}{meant}", hint=hint, field=field)


def _parameters(case: Case, name: str, known: Optimizer) -> Iterator[JobError]:
    params = case.at("optimizer", "params")
    if known.takes is None or not isinstance(params, Mapping):
        return
    variant = _variant(case, params, known.takes)
    for param in params:
        if param in known.takes[variant]:
            continue
        others = [_VARIANTS[other] for other, takes in known.takes.items() if param in takes]
        yield _no_parameter(name, param, known.takes[variant], others, ("optimizer", "params", param))


def _variant(case: Case, params: Mapping[str, object], takes: Mapping[str, tuple[str, ...]]) -> str:
    """Which of its classes the engine makes."""
    wanted = "torch_adam" if params.get("torch_adam") else ""
    if not wanted and case.zero("offload_optimizer", "device") in ("cpu", "nvme"):
        wanted = "offload"
    return wanted if wanted in takes else ""


def _no_parameter(name: str, param: str, takes: tuple[str, ...], others: list[str], path: tuple[str, ...]) -> JobError:
    near = misspelt(param, takes) or nearest(param, takes)
    if others:
        hint = f"{name} {'; '.join(others)}."
        return JobError(f"{name} takes no {param} here", hint=hint, field=place(path))
    meant = _MEANT.get(param) or (f"did you mean {near}?" if near else f"it takes {', '.join(takes)}")
    return JobError(f"{name} takes no {param}; {meant}", field=place(path))


def scheduler_problems(case: Case) -> Iterator[JobError]:
    """What is wrong with the scheduler section, if there is one."""
    if "scheduler" not in case.config:
        return
    name = case.at("scheduler", "type")
    field = place(("scheduler", "type"))
    if name is None:
        yield JobError("is missing", hint="Name one, or remove the section.", field=field)
        return
    names = table().schedulers
    known = names.get(name)
    if known is None:
        near = next((each for each in names if each.lower() == str(name).lower()), None) or nearest(name, names)
        meant = f"; did you mean {near}?" if near else f"; it has {', '.join(names)}"
        yield JobError(f"DeepSpeed {table().deepspeed} and torch have no scheduler {name}{meant}", field=field)
        return
    params = case.at("scheduler", "params")
    if not isinstance(params, Mapping):
        params = {}
        if not known.needs:
            yield JobError(
                "is missing, and DeepSpeed fails without it",
                hint="Write params: {} for the defaults.",
                field=place(("scheduler", "params")),
            )
    if missing := [need for need in known.needs if need not in params]:
        be = "is missing: it has" if len(missing) == 1 else "are missing: they have"
        yield JobError(f"{' and '.join(missing)} {be} no default in {name}", field=place(("scheduler", "params")))
    for param in params:
        if param not in known.takes:
            yield _no_parameter(name, param, known.takes, [], ("scheduler", "params", param))
