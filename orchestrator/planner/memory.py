"""Memory by term. Each term is one small function in TERMS, with its formula and where the formula comes from.

P parameters, N data-parallel ranks, b bytes of one value (4 in fp32, else 2), s sequence length, m micro-batch,
h hidden size, L layers, v vocabulary. On a GPU a rank's terms lie on the GPU and the host's terms beside them; on a
CPU all of a rank lies on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator.model.plan import Memory, Term
from orchestrator.planner.setting import FP32, Setting

GB = 10**9
ADAM_MOMENTS = 2 * FP32

CUDA_CONTEXT = 700 * 2**20  # driver context, cuBLAS workspace and loaded kernels of one process, estimated
NCCL_BUFFERS = 300 * 2**20  # channels of one communicator, estimated
PROCESS_BASE = 800 * 10**6  # a rank's peak resident set with torch, deepspeed and transformers on a CPU, measured
PROCESS_BASE_CUDA = 3 * GB  # the same with the CUDA libraries loaded, estimated
LOGITS = {"fp32": 12, "bf16": 14, "fp16": 14}  # bytes for each s x m x v: logits, fp32 copy, log-softmax, gradient


Formula = Callable[[Setting], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One term: how many bytes of it a rank (or, with `place` host, one machine) holds."""

    name: str
    place: Literal["rank", "host"]
    formula: str
    source: str
    bytes: Formula


def _parameters(s: Setting) -> int:
    if s.stage < 3:
        return s.width * s.facts.parameters
    return 0 if s.offload_param != "none" else s.width * s.share


def _live_parameters(s: Setting) -> int:
    if s.stage < 3 or s.data_parallel == 1:
        return 0
    live = max(s.buffers.max_live, s.facts.largest_layer) + s.buffers.prefetch
    return s.width * min(live, s.facts.parameters)


def _gradients(s: Setting) -> int:
    width = FP32 if s.fp32_gradients else s.width
    if s.stage < 2:
        return width * s.facts.parameters
    return 0 if s.offload_optimizer != "none" else width * s.share


def _master_copy(s: Setting) -> int:
    if s.stage == 0:
        return 0 if s.precision == "fp32" else FP32 * s.facts.parameters
    return 0 if s.offload_optimizer != "none" else FP32 * s.share


def _optimizer(s: Setting) -> int:
    if s.offload_optimizer != "none":
        return 0
    return ADAM_MOMENTS * (s.facts.parameters if s.stage == 0 else s.share)


def _step_gradients(s: Setting) -> int:
    if s.offload_optimizer != "none" or (s.stage == 0 and s.precision == "fp32"):
        return 0
    if s.stage == 0:
        return FP32 * s.facts.parameters
    return FP32 * (min(s.buffers.sub_group, s.share) if s.stage == 3 else s.share)


def _buckets(s: Setting) -> int:
    if s.stage == 0:
        return 0
    reduce = (2 if s.buffers.overlap else 1) * s.buffers.reduce_bucket
    gather = s.buffers.allgather_bucket if s.stage < 3 else 0
    return s.width * (min(reduce, 2 * s.facts.parameters) + min(gather, s.facts.parameters))


def _activations(s: Setting) -> int:
    scores = s.facts.scores * s.facts.heads * s.sequence_length
    layer = s.width * s.tokens * (s.facts.kept + scores)
    if not s.recompute:
        return s.facts.layers * layer
    return s.facts.layers * s.width * s.tokens * s.facts.hidden + layer


def _logits(s: Setting) -> int:
    return LOGITS[s.precision] * s.tokens * s.facts.vocabulary


def _process(s: Setting) -> int:
    return CUDA_CONTEXT + (NCCL_BUFFERS if s.topology.world_size > 1 else 0) if s.on_gpu else PROCESS_BASE


def _host_processes(s: Setting) -> int:
    return s.topology.ranks_per_machine * PROCESS_BASE_CUDA if s.on_gpu else 0


def _offloaded_optimizer(s: Setting) -> int:
    if s.offload_optimizer != "cpu":
        return 0
    each = FP32 + ADAM_MOMENTS + FP32
    return int(s.pinned * each * s.share * s.topology.ranks_per_machine)


def _offloaded_parameters(s: Setting) -> int:
    if s.offload_param != "cpu":
        return 0
    return int(s.pinned * s.width * s.share * s.topology.ranks_per_machine)


def _loading(s: Setting) -> int:
    """Stage 3 loads partitioned; below it every rank first holds the whole model on the host."""
    if not s.on_gpu or s.stage == 3:
        return 0
    whole = s.width * s.facts.parameters * s.topology.ranks_per_machine
    return max(0, whole - _offloaded_optimizer(s))


def _gathered(s: Setting) -> int:
    return s.width * s.facts.parameters if s.stage == 3 and s.gather else 0


TERMS: tuple[Row, ...] = (
    Row(
        name="parameters",
        place="rank",
        formula="b P; stage 3: b P / N, none when offloaded",
        source="Rajbhandari et al. 2020 (ZeRO), section 5",
        bytes=_parameters,
    ),
    Row(
        name="live parameters",
        place="rank",
        formula="stage 3: b min(P, max(max_live, largest layer) + prefetch)",
        source="DeepSpeed stage 3, partitioned_param_coordinator",
        bytes=_live_parameters,
    ),
    Row(
        name="gradients",
        place="rank",
        formula="b P; from stage 2: b P / N, none when offloaded; b = 4 with grad_accum_dtype fp32",
        source="ZeRO, section 5; DeepSpeed stage_1_and_2.py, stage3.py",
        bytes=_gradients,
    ),
    Row(
        name="fp32 weights",
        place="rank",
        formula="4 P / N; stage 0: 4 P unless fp32; none when offloaded",
        source="Micikevicius et al. 2018; DeepSpeed copies in fp32 too",
        bytes=_master_copy,
    ),
    Row(
        name="Adam moments",
        place="rank",
        formula="8 P / N; stage 0: 8 P; none when offloaded",
        source="ZeRO, section 3.1",
        bytes=_optimizer,
    ),
    Row(
        name="fp32 gradients at the step",
        place="rank",
        formula="4 P / N; stage 3: 4 min(sub_group, P / N)",
        source="DeepSpeed stage_1_and_2.py and stage3.py, step()",
        bytes=_step_gradients,
    ),
    Row(
        name="buckets",
        place="rank",
        formula="b ((2 if overlap_comm else 1) reduce_bucket + allgather_bucket)",
        source="DeepSpeed issue 1302, measured differences",
        bytes=_buckets,
    ),
    Row(
        name="activations",
        place="rank",
        formula="L b s m k, k values kept a token; recomputed: L b s m h + one layer",
        source="Korthikanti et al. 2022, section 4, with what transformers' own layers keep, measured",
        bytes=_activations,
    ),
    Row(
        name="logits",
        place="rank",
        formula="14 s m v; fp32: 12 s m v",
        source="transformers' causal-LM loss: logits, fp32 copy, log-softmax, gradient",
        bytes=_logits,
    ),
    Row(
        name="process",
        place="rank",
        formula="GPU: CUDA context 0.7 GiB + NCCL 0.3 GiB; CPU: 0.8 GB",
        source="CPU: measured, with a tiny model; GPU: estimated",
        bytes=_process,
    ),
    Row(
        name="processes",
        place="host",
        formula="GPU: 3 GB for each rank",
        source="estimated: the CPU's 0.8 GB and the CUDA libraries",
        bytes=_host_processes,
    ),
    Row(
        name="offloaded optimizer",
        place="host",
        formula="cpu: 16 P / N for each rank here, x 1.5 when pinned on a GPU machine",
        source="DeepSpeed's estimator",
        bytes=_offloaded_optimizer,
    ),
    Row(
        name="offloaded parameters",
        place="host",
        formula="cpu: b P / N for each rank here, x 1.5 when pinned on a GPU machine",
        source="DeepSpeed's estimator",
        bytes=_offloaded_parameters,
    ),
    Row(
        name="weights while loading",
        place="host",
        formula="below stage 3: b P for each rank here, less what the optimizer takes later",
        source="DeepSpeed's estimator, 4 n P",
        bytes=_loading,
    ),
    Row(
        name="gathered weights at a save",
        place="host",
        formula="stage 3 with stage3_gather_16bit_weights_on_model_save: b P",
        source="DeepSpeed engine.py, _zero3_consolidated_16bit_state_dict",
        bytes=_gathered,
    ),
)


def measure(setting: Setting, rank_limit: int | None, host_limit: int | None) -> Memory:
    """Every term that is not zero, per rank and per machine."""
    rank = _terms(setting, "rank")
    host = _terms(setting, "host")
    if not setting.on_gpu:
        host = (_ranks_on_host(rank, setting.topology.ranks_per_machine), *host)
    return Memory(rank=rank, host=host, rank_limit=rank_limit, host_limit=host_limit, rank_on_host=not setting.on_gpu)


def _terms(setting: Setting, place: str) -> tuple[Term, ...]:
    sized = ((row, row.bytes(setting)) for row in TERMS if row.place == place)
    return tuple(Term(name=row.name, bytes=size, formula=row.formula) for row, size in sized if size)


def _ranks_on_host(terms: tuple[Term, ...], ranks: int) -> Term:
    each = sum(term.bytes for term in terms)
    return Term(name="ranks", bytes=ranks * each, formula=f"all of a rank's terms, x {ranks} ranks here")
