"""What the job asks of DeepSpeed, read once from its own keys and from the raw ds_config keys laid over them.

A raw key may fill what the job leaves open; where both speak and differ, the job is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from orchestrator.errors import JobError, together
from orchestrator.model.plan import DsConfig
from orchestrator.model.spec import Precision, Spec
from orchestrator.planner.dscheck import AUTO, FIELD
from orchestrator.planner.dsschema import table
from orchestrator.planner.setting import Where

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """None: left to orch (or, for a script of the user's own, to the script).

    `model_parallel`: ranks that share one sequence, as `sharing_field` says. `untested`: an optimizer that DeepSpeed
    refuses above ZeRO stage 0.
    """

    stage: int | None
    offload: Where | Literal["auto"]
    offload_optimizer: Where | None
    offload_param: Where | None
    precision: Precision | None
    global_batch: int | None
    micro_batch: int | None
    accumulation: int | None
    model_parallel: int
    sharing_field: str
    untested: str | None


def read_asked(spec: Spec, raw: DsConfig) -> Asked:
    """Both sources as one. JobError with all places where they contradict, with the raw key as its field."""
    problems: list[JobError] = []

    def settled(read: Callable[[], Found | None]) -> Found | None:
        try:
            return read()
        except JobError as error:
            problems.append(error)
            return None

    optimizer = _device(raw, "offload_optimizer")
    param = _device(raw, "offload_param")
    settled(lambda: _agree_offload(spec, optimizer))
    training = spec.training
    sequences = training.global_batch if training else None
    micro = training.micro_batch if training else None
    asked = Asked(
        stage=settled(lambda: _stage(spec, raw)),
        offload=spec.deepspeed.offload,
        offload_optimizer=optimizer,
        offload_param=param,
        precision=settled(lambda: _precision(spec, raw)),
        global_batch=settled(lambda: _agreed(raw, "train_batch_size", "training.global_batch", sequences)),
        micro_batch=settled(lambda: _agreed(raw, "train_micro_batch_size_per_gpu", "training.micro_batch", micro)),
        accumulation=given(raw, "gradient_accumulation_steps"),
        model_parallel=settled(lambda: _model_parallel(spec, raw)) or 1,
        sharing_field=_sharing_field(raw),
        untested=_untested(raw),
    )
    if problems:
        raise together(problems)
    return asked


def given(raw: DsConfig, *path: str) -> Any:
    """The raw value at a path; None when it is absent or `auto`."""
    value: Any = raw
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value == AUTO else value


def _contradiction(value: object, ours: str, wanted: object, raw_key: str) -> JobError:
    return JobError(
        f"{value} contradicts {ours}, which is {wanted}",
        hint=f"Remove the raw key, or write {ours}: {value}.",
        field=f"{FIELD}.{raw_key}",
    )


def _agreed(raw: DsConfig, key: str, ours: str, wanted: int | None) -> int | None:
    value = given(raw, key)
    if value is not None and wanted is not None and value != wanted:
        raise _contradiction(value, ours, wanted, key)
    return cast("int | None", wanted if value is None else value)


def _stage(spec: Spec, raw: DsConfig) -> int | None:
    wanted = spec.deepspeed.zero
    value = given(raw, "zero_optimization", "stage")
    if value is None:
        return None if wanted == "auto" else wanted
    if wanted not in ("auto", value):
        raise _contradiction(value, "deepspeed.zero", wanted, "zero_optimization.stage")
    return int(value)


def _device(raw: DsConfig, key: str) -> Where | None:
    section = given(raw, "zero_optimization", key)
    if section is None:
        return None
    return cast(Where, given(section, "device") or "none")


def _agree_offload(spec: Spec, device: Where | None) -> None:
    wanted = spec.deepspeed.offload
    # `none` is also what a job that says nothing has, so raw keys may fill it.
    if device is None or wanted in (AUTO, "none", device):
        return
    raise _contradiction(device, "deepspeed.offload", wanted, "zero_optimization.offload_optimizer.device")


def _precision(spec: Spec, raw: DsConfig) -> Precision | None:
    halves = {name: given(raw, name, "enabled") for name in ("bf16", "fp16")}
    on = [cast(Precision, name) for name, value in halves.items() if value is True]
    if len(on) == 2:
        raise JobError("fp16 and bf16 are both enabled", hint="Keep one of them.", field=f"{FIELD}.fp16.enabled")
    if spec.training is None:
        return on[0] if on else None
    wanted = spec.training.precision
    if on and on[0] != wanted:
        raise _contradiction(on[0], "training.precision", wanted, f"{on[0]}.enabled")
    if halves.get(wanted) is False:
        raise JobError(
            f"{wanted} is switched off, and training.precision is {wanted}",
            hint="Remove the raw key, or write training.precision: fp32.",
            field=f"{FIELD}.{wanted}.enabled",
        )
    return wanted


# Keys that say how many ranks share one sequence. DeepSpeed does not read pipeline.stages: the script builds the
# pipeline, and the key tells orch.
SHARING = (("sequence_parallel_size",), ("tensor_parallel", "autotp_size"), ("pipeline", "stages"))


def _model_parallel(spec: Spec, raw: DsConfig) -> int:
    """Ranks that share one sequence: sequence parallel times tensor parallel times pipeline stages."""
    sharing = 1
    for path in SHARING:
        size = given(raw, *path) or 1
        if size > 1 and spec.run is None:
            raise JobError(
                f"{size} is not supported by the built-in trainer, whose ranks are all data-parallel",
                hint="Remove the key, or bring a script of your own with `run`.",
                field=".".join((FIELD, *path)),
            )
        sharing *= size
    return sharing


def _sharing_field(raw: DsConfig) -> str:
    path = next((path for path in SHARING if (given(raw, *path) or 1) > 1), SHARING[0])
    return ".".join((FIELD, *path))


def _untested(raw: DsConfig) -> str | None:
    name = given(raw, "optimizer", "type")
    if not isinstance(name, str) or given(raw, "zero_allow_untested_optimizer"):
        return None
    known = table().optimizer(name)
    return None if known is None or known.zero else name
