"""All that the memory of a rank and of a host depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.model.plan import ModelFacts, Topology
from orchestrator.model.spec import Precision

Where = Literal["none", "cpu", "nvme"]

FP32 = 4  # bytes of one value
PINNED = 1.5  # pinned blocks are rounded up to a power of two: between 1 and 2; DeepSpeed's estimator takes 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Sizes of DeepSpeed's buffers, in values (not bytes), as the rendered ds_config has them."""

    reduce_bucket: int
    allgather_bucket: int
    prefetch: int
    max_live: int
    sub_group: int
    overlap: bool
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All that the terms depend on. `micro_batch` in sequences, `offload_*`: where that part lives."""

    facts: ModelFacts
    topology: Topology
    data_parallel: int
    stage: int
    offload_optimizer: Where
    offload_param: Where
    precision: Precision
    micro_batch: int
    sequence_length: int
    recompute: bool
    fp32_gradients: bool
    gather: bool
    buffers: Buffers

    @property
    def width(self) -> int:
        """Bytes of one parameter as the forward pass sees it."""
        return FP32 if self.precision == "fp32" else 2

    @property
    def share(self) -> int:
        """Parameters in one rank's partition."""
        return -(-self.facts.parameters // self.data_parallel)

    @property
    def tokens(self) -> int:
        return self.micro_batch * self.sequence_length

    @property
    def on_gpu(self) -> bool:
        return self.topology.device != "cpu"

    @property
    def pinned(self) -> float:
        return PINNED if self.on_gpu and self.buffers.pinned else 1.0
