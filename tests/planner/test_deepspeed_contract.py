"""The table of keys and every rendered ds_config against the installed DeepSpeed itself, offline."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from orchestrator.errors import JobError
from orchestrator.job.protocol.encoding import from_json
from orchestrator.job.protocol.jobfile import JobFile, Training
from orchestrator.job.training.arguments import make_arguments
from tests.planner.conftest import ROOT
from tests.planner.jobs import TINY_FACTS, gpus, job, plan, script
from tests.planner.jobs import checked as check

TABLE = """
import runpy
tool = runpy.run_path("tools/dskeys.py")
answer = tool["main"](["--check"])
"""


def test_the_table_of_keys_is_what_the_installed_deepspeed_gives(ask):
    assert ask(TABLE, None) == 0, "make docs"


# Keys of all kinds of sections, so that a tool that finds nothing does not pass.
KNOWN = {
    "train_batch_size": "whole? >=1",
    "zero_optimization.offload_optimizer.ratio": "number >=0 <=1",
    "zero_optimization.stage": "whole >=0 <=3",
    "zero_optimization.overlap_comm": "flag?",
    "zero_optimization.offload_param.device": "none|cpu|nvme",
    "fp16.hysteresis": "whole",
    "activation_checkpointing.cpu_checkpointing": "flag",
    "flops_profiler.recompute_fwd_factor": "number",
    "checkpoint.writer.type": "mock|python|fast any-case",
    "wandb.team": "text?",
    "timers.throughput.enabled": "flag",
    "aio.block_size": "whole >=1",
    "data_efficiency.seed": "whole",
    "weight_quantization.q_type": "asymmetric|symmetric",
}


def test_the_table_has_keys_from_models_from_code_and_from_the_additions():
    keys = json.loads((ROOT / "orchestrator" / "planner" / "ds_keys.json").read_text())["keys"]
    for path, kind in KNOWN.items():
        section, _, key = path.rpartition(".")
        assert key in keys[section][kind].split(), path


PARSE = """
from deepspeed.runtime.config import DeepSpeedConfig
answer = []
for config in question:
    # No process group here: the world is one rank.
    config["train_batch_size"] = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"]
    try:
        parsed = DeepSpeedConfig(config)
    except Exception as error:
        answer.append([repr(error), None, None, None])
    else:
        zero = parsed.zero_config
        answer.append(["", int(zero.stage), parsed.gradient_clipping, zero.prefetch_bucket_size])
"""


RAW = [
    {},
    {"zero_optimization": {"reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}},
    {"zero_optimization": {"prefetch_bucket_size": 5e7, "sub_group_size": 1e8}},
    {"gradient_clipping": 0.5, "wall_clock_breakdown": True, "steps_per_print": 100},
    {"optimizer": {"type": "AdamW", "params": {"lr": "auto", "torch_adam": True}}},
    {"optimizer": {"type": "AdamW"}, "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_max_lr": "auto"}}},
    {"data_types": {"keep_in_fp32_modules": "auto"}, "activation_checkpointing": {"partition_activations": True}},
    {"flops_profiler": {"enabled": True}, "comms_logger": {"enabled": True}, "tensorboard": {"enabled": False}},
    {"checkpoint": {"tag_validation": "Fail", "parallel_write": {"pipeline_stage": True}}, "aio": {"queue_depth": 8}},
]


def rendered():
    places = ("none", "cpu", "nvme", "auto")
    for zero, offload, precision, raw in itertools.product((0, 1, 2, 3, "auto"), places, ("fp32", "bf16", "fp16"), RAW):
        for facts in (TINY_FACTS, None):
            spec = job(
                zero=zero,
                offload=offload,
                precision=precision,
                config=raw,
                nvme_path="/nvme",
                nodes=2,
                gpus_per_node=2,
                global_batch=16,
            )
            try:
                yield plan(spec, gpus(2, 2), facts)
            except JobError:
                assert (zero, offload) in {(0, "cpu"), (0, "nvme"), (1, "nvme"), (2, "nvme")}


def test_deepspeed_reads_every_rendered_config(ask):
    plans = list(rendered())
    assert len(plans) == (5 * 4 - 4) * 3 * len(RAW) * 2
    for made, answer in zip(plans, ask(PARSE, [made.ds_config for made in plans]), strict=True):
        error, stage, clipping, prefetch = answer
        assert not error, (error, made.ds_config)
        assert stage == made.zero_stage
        assert clipping == made.ds_config["gradient_clipping"]
        assert isinstance(prefetch, int)
        batch = made.batch
        assert made.ds_config["train_batch_size"] == math.prod((batch.micro_batch, batch.accumulation, 4))


def test_deepspeed_reads_a_scripts_config_with_batch_sizes(ask):
    raw = {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
    configs = [plan(script(raw, zero=zero)).ds_config for zero in (0, 1, 2, 3, "auto")]
    assert all(answer[0] == "" for answer in ask(PARSE, configs))


BAD = [
    {"zero_optimization": {"stage": 4}},
    {"zero_optimization": {"reduce_bucket_size": 0}},
    {"zero_optimization": {"nonsense": 1}},
    {"zero_optimization": {"offload_optimizer": {"ratio": 2}}},
    {"zero_optimization": {"stage": 3, "mics_shard_size": 2}},
    {"fp16": {"loss_scale": -1}},
    {"fp16": {"nonsense": 1}},
    {"elasticity": {"enabled": False}},
    {"communication_data_type": "int8"},
    {"gradient_allreduce_op": "max"},
    {"checkpoint": {"tag_validation": "never"}},
    {"tensorboard": {"nonsense": 1}},
    {"comms_logger": {"nonsense": 1}},
    {"compile": {"nonsense": 1}},
]


@pytest.mark.parametrize("raw", BAD, ids=str)
def test_orch_refuses_what_deepspeed_refuses(raw):
    with pytest.raises(JobError):
        check(raw)


def test_deepspeed_refuses_those_too(ask):
    batch = {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    answers = ask(PARSE, [{**batch, **raw} for raw in BAD])
    assert all(answer[0] for answer in answers), [
        raw for raw, answer in zip(BAD, answers, strict=True) if not answer[0]
    ]


TRAINER = """
import json, os, types
os.environ["ACCELERATE_USE_CPU"] = "true"
from transformers import TrainingArguments
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig
answer = []
for config, arguments in question:
    arguments.pop("deepspeed")
    arguments["use_cpu"] = True
    filled = HfTrainerDeepSpeedConfig(config)
    try:
        arguments = TrainingArguments(**arguments)
        filled.trainer_config_process(arguments)
        model = types.SimpleNamespace(config=types.SimpleNamespace(hidden_size=64))
        filled.trainer_config_finalize(arguments, model, 60)
    except ValueError as error:
        answer.append(str(error))
    else:
        # deepspeed itself reads auto as its default there.
        filled.config.pop("zero_optimization")
        answer.append("auto" if '"auto"' in json.dumps(filled.config) else "")
"""


JOB = JobFile(format=1, name="toy", run_id="id", nodes=1, ranks_per_node=1, checkpoint_dir="", max_failures=1, steps=60)


def test_hugging_faces_trainer_agrees_with_every_rendered_config(ask, tmp_path):
    question = []
    for zero, precision, raw, facts in itertools.product((0, 2, 3), ("fp32", "bf16"), RAW, (TINY_FACTS, None)):
        for args in ({}, {"max_grad_norm": 0.5, "adam_beta2": 0.95, "warmup_steps": 5}):
            made = plan(job(zero=zero, precision=precision, config=raw, args=args, learning_rate=3e-4), facts=facts)
            training = {
                "model": {},
                "data": {"sequence_length": 8},
                "global_batch": made.batch.global_batch,
                "micro_batch": made.batch.micro_batch,
                "accumulation": made.batch.accumulation,
                "learning_rate": 3e-4,
                "seed": 1,
                "precision": precision,
                "gradient_checkpointing": False,
                "log_every": 1,
                "args": args,
            }
            asked = from_json(Training, training)
            arguments = make_arguments(JOB, asked, made.ds_config, str(tmp_path), cpu=True)
            question.append([made.ds_config, arguments])
    answers = ask(TRAINER, question)
    assert len(answers) == len(question)
    assert set(answers) == {""}
