"""A job with all that is known of it, and how much memory and disk a candidate takes for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.model.cluster import Cluster
from orchestrator.model.plan import DsConfig, Memory, ModelFacts, Topology
from orchestrator.model.spec import Data, Spec, Training
from orchestrator.planner.dsconfig import buffers, zero_section
from orchestrator.planner.interval import save_size
from orchestrator.planner.memory import measure
from orchestrator.planner.setting import Setting
from orchestrator.planner.settings import Asked
from orchestrator.planner.stage import Candidate
from orchestrator.planner.topology import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What make_plan was given, and what follows from it at once. `raw`: checked ds_config keys."""

    spec: Spec
    cluster: Cluster
    facts: ModelFacts | None
    raw: DsConfig
    asked: Asked
    topology: Topology
    data_parallel: int

    @property
    def training(self) -> Training:
        return self.spec.training or Training()

    @property
    def sequence_length(self) -> int:
        return (self.spec.data or Data()).sequence_length


def memory_of(job: Job, candidate: Candidate, micro_batch: int) -> Memory | None:
    """Memory by term; None when the model's size is not known."""
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
        micro_batch=micro_batch,
        sequence_length=job.sequence_length,
        recompute=job.training.gradient_checkpointing,
        fp32_gradients=job.raw.get("data_types", {}).get("grad_accum_dtype") == "fp32",
        gather=_gathered(zero),
        buffers=buffers(zero, job.facts),
    )
    return measure(setting, *limits(job.topology, job.cluster))


def save_bytes_of(job: Job, candidate: Candidate) -> int | None:
    """Bytes of one checkpoint; None when the model's size is not known."""
    if job.facts is None:
        return None
    zero = zero_section(candidate, job.facts, job.spec, job.raw)
    return save_size(job.facts, stage=candidate.stage, precision=job.training.precision, gather=_gathered(zero))


def recomputing(job: Job) -> Job:
    """The same job with activations recomputed in the backward pass."""
    training = replace(job.training, gradient_checkpointing=True)
    return replace(job, spec=replace(job.spec, training=training))


def _gathered(zero: DsConfig) -> bool:
    return zero.get("stage3_gather_16bit_weights_on_model_save") is True
