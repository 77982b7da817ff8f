"""Plan: what will run, and why it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

DsConfig: TypeAlias = Mapping[str, Any]  # a ds_config, or a section of one, as DeepSpeed takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Sizes of a model, as counts. `largest_layer` in parameters.

    `kept`: values that a layer keeps per token for the backward pass; `scores`: matrices of attention scores (heads x
    tokens x tokens) that it keeps beside, where attention is not fused.
    """

    parameters: int
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    largest_layer: int
    source: str  # where the figures come from, for `orch plan`
    kept: int
    scores: int = 0
    positions: int | None = None  # the longest sequence that learned positions allow; None: no such limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Nodes and ranks. world_size = nodes x ranks_per_node. `one_machine`: all nodes are on the same one (`local`)."""

    nodes: int
    ranks_per_node: int
    device: Literal["cuda", "cpu", "auto"]
    one_machine: bool = False

    @property
    def world_size(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def ranks_per_machine(self) -> int:
        return self.world_size if self.one_machine else self.ranks_per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """global_batch = micro_batch x accumulation x data_parallel, in sequences."""

    global_batch: int
    micro_batch: int
    accumulation: int
    data_parallel: int
    sequence_length: int

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch * self.sequence_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of the memory sum, in bytes."""

    name: str
    bytes: int
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory by term, per rank and per host. Limits in bytes, None when not known.

    `rank_on_host`: ranks are processes on a CPU, so `host` holds all of them and there is no limit of one rank.
    """

    rank: tuple[Term, ...]
    host: tuple[Term, ...]
    rank_limit: int | None
    host_limit: int | None
    rank_on_host: bool = False

    @property
    def rank_bytes(self) -> int:
        return sum(term.bytes for term in self.rank)

    @property
    def host_bytes(self) -> int:
        return sum(term.bytes for term in self.host)

    @property
    def deciding_limit(self) -> int | None:
        """The limit that a stage or a micro-batch breaks first: a GPU's, or on a CPU the host's."""
        return self.host_limit if self.rank_on_host else self.rank_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will run. `memory` and `batch` are None for a script of the user's own, whose model orch does not know."""

    topology: Topology
    batch: Batch | None
    zero_stage: int
    offload: Literal["none", "cpu", "nvme"]
    memory: Memory | None
    model: ModelFacts | None
    fits: bool | None  # None: a limit or the model's size is not known
    ds_config: DsConfig
    steps: int | None
    epochs: float | None
    checkpoint_steps: int | None  # a checkpoint every so many steps, and
    checkpoint_seconds: int | None  # one when so many seconds have gone by: whichever comes first
    checkpoint_bytes: int | None
    because: tuple[str, ...] = ()  # one sentence a choice
    warnings: tuple[str, ...] = field(default=())
