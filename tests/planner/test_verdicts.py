"""What orch says of many ds_config files, beside what the installed DeepSpeed says of the same."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import JobError
from tests.planner.conftest import Ask
from tests.planner.jobs import gpus, plan, script
from tests.planner.verdicts import ROWS, Row

# DeepSpeed reads the file, does the batch arithmetic for the ranks, and makes scheduler and optimizer; of those that it
# compiles only the signature is asked. `auto` is filled as the Trainer does. The answer is "" or what it raised.
DEEPSPEEDS = """
import inspect, types
import deepspeed, torch
import deepspeed.ops.adam, deepspeed.ops.adagrad, deepspeed.ops.lamb, deepspeed.ops.lion
from deepspeed.runtime import config as ds
from deepspeed.runtime.engine import DeepSpeedEngine as Engine
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS as TESTED

made = []
def only_signature(module, name):
    kind = getattr(module, name)
    def make(*given, **named):
        inspect.signature(kind).bind(*given, **named)
        made.append(kind)
    setattr(module, name, make)
for module, names in (
    (deepspeed.ops.adam, ("FusedAdam", "DeepSpeedCPUAdam")), (deepspeed.ops.adagrad, ("DeepSpeedCPUAdagrad",)),
    (deepspeed.ops.lamb, ("FusedLamb",)), (deepspeed.ops.lion, ("FusedLion", "DeepSpeedCPULion")),
):
    for name in names:
        only_signature(module, name)

FILLED = {"gradient_clipping": 1.0, "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0,
          "warmup_min_lr": 0, "warmup_max_lr": 1e-3, "warmup_num_steps": 10, "total_num_steps": 100}
BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")

def fill(section):
    return {key: fill(value) if isinstance(value, dict) else FILLED[key] if value == "auto" and key in FILLED else value
            for key, value in section.items()}

def judge(config, ranks):
    config = fill(config)
    if "auto" in [config.get(key) for key in BATCH]:
        config = {key: value for key, value in config.items() if key not in BATCH or value != "auto"}
        if not any(config.get(key) for key in BATCH[:2]):
            config["train_micro_batch_size_per_gpu"] = 1
    ds._reject_removed_config_keys(config)
    alone = {key: value for key, value in config.items() if key not in BATCH}
    parsed = ds.DeepSpeedConfig({**alone, "train_micro_batch_size_per_gpu": 1})
    parsed.world_size = ranks
    for key in BATCH:
        setattr(parsed, key, config.get(key))
    parsed._configure_train_batch_size()
    parsed._do_sanity_check()
    name, parameter = parsed.optimizer_name, torch.nn.Parameter(torch.zeros(1))
    offload = parsed.zero_config.offload_optimizer
    engine = types.SimpleNamespace(
        optimizer_params=lambda: parsed.optimizer_params, optimizer_name=lambda: name, zenflow=False,
        zero_use_cpu_optimizer=lambda: offload is not None and offload.device != "none",
        bf16_optimizer_states=lambda: False, has_moe_layers=False,
        scheduler_name=lambda: parsed.scheduler_name, scheduler_params=lambda: parsed.scheduler_params)
    engine.get_optimizer_configuration = types.MethodType(Engine.get_optimizer_configuration, engine)
    if name is not None:
        assert Engine._is_supported_optimizer(engine, name), f"{name} is not a supported DeepSpeed Optimizer"
        made.clear()
        optimizer = Engine._configure_basic_optimizer(engine, [parameter])
        kind = made[0] if made else type(optimizer)
        untested = parsed.zero_optimization_stage > 0 and kind not in TESTED
        assert not untested or parsed.zero_allow_untested_optimizer, "You are using an untested ZeRO Optimizer."
        assert name != "lamb" or parsed.float16_config.loss_scale == 0, "requires dynamic loss scaling"
    # DeepSpeed's schedulers set the learning rate of each group that there is.
    rates = (parsed.scheduler_params or {}).get("warmup_max_lr")
    count = len(rates) if isinstance(rates, list) else 1
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(count)]
    Engine._scheduler_from_config(engine, torch.optim.SGD(groups, lr=1, momentum=0.9))

answer = []
for config, ranks in question:
    try:
        judge(config, ranks)
    except Exception as error:
        answer.append(f"{type(error).__name__}: {error}")
    else:
        answer.append("")
"""


def data_parallel(row: Row) -> int:
    sharing: Any = row.config.get("pipeline", {}).get("stages", 1) * row.config.get("sequence_parallel_size", 1)
    return row.ranks // int(sharing) // int(row.config.get("tensor_parallel", {}).get("autotp_size", 1))


@pytest.fixture(scope="module")
def deepspeeds(ask: Ask) -> dict[str, str]:
    answers = ask(DEEPSPEEDS, [[row.config, data_parallel(row)] for row in ROWS])
    return {row.shape: answer for row, answer in zip(ROWS, answers, strict=True)}


def ours(row: Row) -> str:
    try:
        plan(script(row.config, gpus_per_node=row.ranks), gpus())
    except JobError as error:
        return " ".join((each.field or "").removeprefix("deepspeed.config.") for each in error.each())
    return ""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.shape)
def test_a_file_gets_deepspeeds_own_verdict_or_a_better_one(row: Row, deepspeeds: dict[str, str]) -> None:
    assert ours(row) == row.refused
    theirs = deepspeeds[row.shape]
    assert bool(theirs) == (bool(row.refused) and not row.better), theirs


def test_there_are_rows_of_each_kind() -> None:
    assert len({row.shape for row in ROWS}) == len(ROWS) >= 130
    assert sum(not row.refused for row in ROWS) >= 60
    assert sum(bool(row.better) for row in ROWS) <= 9
