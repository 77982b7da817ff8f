"""make_plan: the one straight line through the planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JobError
from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import Batch, Memory, ModelFacts, Plan, Topology
from orchestrator.model.spec import Data, Spec, Training
from orchestrator.planner.advice import advise
from orchestrator.planner.asked import Asked, read_asked
from orchestrator.planner.batch import (
    TOKENS_PER_MICRO_BATCH,
    check_script_batch,
    data_parallel,
    micro_batches,
    without_limit,
)
from orchestrator.planner.dscheck import check
from orchestrator.planner.dsconfig import Inputs, buffers, render, zero_section
from orchestrator.planner.dsrules import Case, apply_rules
from orchestrator.planner.interval import make_interval, save_size
from orchestrator.planner.memory import Setting, measure
from orchestrator.planner.stage import (
    DEFAULT_STAGE,
    DEFAULT_STAGE_OF_A_SCRIPT,
    Candidate,
    candidates,
    choose,
    gib,
    rejection,
)
from orchestrator.planner.topology import limits, make_topology, shortage


def make_plan(spec: Spec, cluster: Cluster, facts: ModelFacts | None) -> Plan:
    """What will run, and why. JobError for contradictions; what does not fit has `fits` False, and a reason."""
    raw = check(spec.deepspeed.config)
    asked = read_asked(spec, raw)
    topology = make_topology(spec.resources, cluster)
    job = _Job(
        spec=spec,
        cluster=cluster,
        facts=facts,
        raw=raw,
        asked=asked,
        topology=topology,
        data_parallel=data_parallel(topology, asked),
    )
    return _plan_script(job) if spec.run is not None else _plan_built_in(job)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    spec: Spec
    cluster: Cluster
    facts: ModelFacts | None
    raw: Mapping[str, Any]
    asked: Asked
    topology: Topology
    data_parallel: int

    @property
    def training(self) -> Training:
        return self.spec.training or Training()

    @property
    def sequence_length(self) -> int:
        return (self.spec.data or Data()).sequence_length


def _plan_script(job: _Job) -> Plan:
    """A script of the user's own: its model and its batch are not known here."""
    check_script_batch(job.asked, job.topology)
    found = candidates(job.asked, job.spec.deepspeed.nvme_path)
    choice = choose(found, lambda _: None, default=DEFAULT_STAGE_OF_A_SCRIPT)
    interval = make_interval(job.spec.checkpoint, steps=None, nodes=job.topology.nodes, save_bytes=None)
    short = shortage(job.topology, job.cluster)
    inputs = Inputs(spec=job.spec, asked=job.asked, candidate=choice.candidate, batch=None, facts=None, raw=job.raw)
    config = render(inputs)
    apply_rules(Case(config=config, spec=job.spec, topology=job.topology))
    return Plan(
        topology=job.topology,
        batch=None,
        zero_stage=choice.candidate.stage,
        offload=choice.candidate.offload,
        memory=None,
        model=None,
        fits=False if short else None,
        ds_config=config,
        steps=None,
        epochs=None,
        checkpoint_steps=interval.steps,
        checkpoint_seconds=interval.seconds,
        checkpoint_bytes=None,
        because=(
            *((short,) if short else ()),
            *choice.because,
            interval.because,
            "The model and the batch are the script's own, so memory is not estimated.",
        ),
        warnings=advise(job.spec, job.topology, config),
    )


def _plan_built_in(job: _Job) -> Plan:
    _check_positions(job)
    micros = micro_batches(job.asked, job.training.global_batch, job.data_parallel)
    found = candidates(job.asked, job.spec.deepspeed.nvme_path)
    choice = choose(found, lambda candidate: _memory(job, candidate, micros[0]), default=DEFAULT_STAGE)
    micro, why_micro = _micro_batch(job, choice.candidate, micros)
    batch = _batch(job, micro)
    memory = _memory(job, choice.candidate, micro)
    size = _save_size(job, choice.candidate)
    interval = make_interval(job.spec.checkpoint, steps=job.training.steps, nodes=job.topology.nodes, save_bytes=size)
    short = shortage(job.topology, job.cluster)
    inputs = Inputs(
        spec=job.spec, asked=job.asked, candidate=choice.candidate, batch=batch, facts=job.facts, raw=job.raw
    )
    config = render(inputs)
    apply_rules(Case(config=config, spec=job.spec, topology=job.topology))
    return Plan(
        topology=job.topology,
        batch=batch,
        zero_stage=choice.candidate.stage,
        offload=choice.candidate.offload,
        memory=memory,
        model=job.facts,
        fits=False if short else _fits(memory, choice.candidate),
        ds_config=config,
        steps=job.training.steps,
        epochs=job.training.epochs,
        checkpoint_steps=interval.steps,
        checkpoint_seconds=interval.seconds,
        checkpoint_bytes=size,
        because=(
            *((short,) if short else ()),
            *choice.because,
            why_micro,
            *_why_fits(memory),
            interval.because,
        ),
        warnings=advise(job.spec, job.topology, config),
    )


def _check_positions(job: _Job) -> None:
    positions = job.facts.positions if job.facts else None
    if positions is not None and job.sequence_length > positions:
        raise JobError(
            f"{job.sequence_length} tokens are more than the {positions} positions that the model has learned",
            hint=f"Use at most {positions}, or another model.",
            field="data.sequence_length",
        )


def _batch(job: _Job, micro: int) -> Batch:
    total = job.training.global_batch
    return Batch(
        global_batch=total,
        micro_batch=micro,
        accumulation=total // (micro * job.data_parallel),
        data_parallel=job.data_parallel,
        sequence_length=job.sequence_length,
    )


def _micro_batch(job: _Job, candidate: Candidate, micros: tuple[int, ...]) -> tuple[int, str]:
    if len(micros) == 1:
        return micros[0], f"Micro-batch {micros[0]}: the only one, as asked or as the batch divides."
    sizes = [(micro, size) for micro in micros if (size := _memory(job, candidate, micro)) and size.deciding_limit]
    if not sizes:
        micro = without_limit(micros, job.sequence_length)
        return (
            micro,
            f"Micro-batch {micro}: memory or model size is not known, so {TOKENS_PER_MICRO_BATCH:,} tokens at most.",
        )
    fitting = tuple(micro for micro, size in sizes if rejection(size) is None)
    if not fitting:
        return micros[0], f"Micro-batch {micros[0]}: the smallest, and even that does not fit."
    if job.topology.device == "cpu":
        micro = without_limit(fitting, job.sequence_length)
        return (
            micro,
            f"Micro-batch {micro}: it fits, and more than {TOKENS_PER_MICRO_BATCH:,} tokens are no faster on a CPU.",
        )
    return max(fitting), f"Micro-batch {max(fitting)}: the largest of {', '.join(map(str, micros))} that fits."


def _memory(job: _Job, candidate: Candidate, micro: int) -> Memory | None:
    if job.facts is None:
        return None
    zero = zero_section(candidate, job.facts, job.spec, job.raw)
    setting = Setting(
        facts=job.facts,
        topology=job.topology,
        data_parallel=job.data_parallel,
        stage=candidate.stage,
        offload_optimizer=candidate.optimizer,
        offload_param=candidate.param,
        precision=job.training.precision,
        micro_batch=micro,
        sequence_length=job.sequence_length,
        recompute=job.training.gradient_checkpointing,
        fp32_gradients=job.raw.get("data_types", {}).get("grad_accum_dtype") == "fp32",
        gather=bool(zero.get("stage3_gather_16bit_weights_on_model_save")),
        buffers=buffers(zero, job.facts),
    )
    return measure(setting, *limits(job.topology, job.cluster))


def _save_size(job: _Job, candidate: Candidate) -> int | None:
    if job.facts is None:
        return None
    zero = zero_section(candidate, job.facts, job.spec, job.raw)
    gather = bool(zero.get("stage3_gather_16bit_weights_on_model_save"))
    return save_size(job.facts, stage=candidate.stage, precision=job.training.precision, gather=gather)


def _fits(memory: Memory | None, candidate: Candidate) -> bool | None:
    """None when a limit that matters is not known: the GPU's; the host's on a CPU or with offload."""
    if memory is None:
        return None
    if rejection(memory) is not None:
        return False
    needs_host = memory.rank_on_host or candidate.offload == "cpu"
    return None if memory.deciding_limit is None or (needs_host and memory.host_limit is None) else True


def _why_fits(memory: Memory | None) -> tuple[str, ...]:
    if memory is None:
        return ("The model's size is not known here, so memory is not estimated.",)
    why = rejection(memory)
    if why is not None:
        return (f"It does not fit: it needs {why}.",)
    if memory.deciding_limit is None:
        return (f"A rank needs {gib(memory.rank_bytes)}; how much there is, is not known.",)
    return ()
