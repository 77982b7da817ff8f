"""Jobs, clusters and models for the planner's tests."""

from __future__ import annotations

from typing import Any

from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.errors import together
from orchestrator.model.cluster import Cluster, Profile
from orchestrator.model.plan import DsConfig, ModelFacts, Plan
from orchestrator.model.spec import Data, DeepSpeed, Model, Resources, Spec, Training
from orchestrator.planner import make_plan
from orchestrator.planner.dscheck import check
from orchestrator.planner.families import count

GIB = 2**30
TINY = {
    "model_type": "llama",
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SIZES = {
    "7b": (4096, 11008, 32, 32, 32),
    "13b": (5120, 13824, 40, 40, 40),
    "33b": (6656, 17920, 60, 52, 52),
    "70b": (8192, 28672, 80, 64, 8),
}


def llama(size: str) -> ModelFacts:
    hidden, inner, layers, heads, keys = SIZES[size]
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
    }
    return facts_of(config)


def facts_of(config: dict[str, Any]) -> ModelFacts:
    facts = count(config, "test")
    assert facts is not None
    return facts


TINY_FACTS = facts_of(TINY)

LAPTOP = Cluster(name="local", profile=Profile(kind="local"), one_machine=True, device="cpu", host_memory=24 * GIB)


def gpus(nodes: int = 1, per_node: int = 8, *, gpu: int | None = 80 * GIB, host: int | None = 1024 * GIB) -> Cluster:
    return Cluster(
        name="hpc",
        profile=SlurmProfile(kind="slurm"),
        device="cuda",
        nodes=nodes,
        gpus_per_node=per_node,
        gpu_memory=gpu,
        host_memory=host,
    )


def job(
    *,
    zero: Any = "auto",
    offload: Any = "none",
    config: dict[str, Any] | None = None,
    nodes: int = 1,
    gpus_per_node: int = 1,
    sequence_length: int = 256,
    nvme_path: str | None = None,
    **training: Any,
) -> Spec:
    """A job for the built-in trainer; further keywords are those of `training`."""
    return Spec(
        name="test",
        model=Model(config=TINY),
        data=Data(files=("*.txt",), sequence_length=sequence_length),
        training=Training(**({"steps": 60, "global_batch": 16} | training)),
        deepspeed=DeepSpeed(zero=zero, offload=offload, config=config or {}, nvme_path=nvme_path),
        resources=Resources(nodes=nodes, gpus_per_node=gpus_per_node),
    )


def script(config: dict[str, Any] | None = None, *, zero: Any = "auto", gpus_per_node: int = 1, **rest: Any) -> Spec:
    """A job with a script of the user's own."""
    return Spec(
        name="test",
        run="train.py",
        deepspeed=DeepSpeed(zero=zero, config=config or {}),
        resources=Resources(nodes=1, gpus_per_node=gpus_per_node),
        **rest,
    )


def plan(spec: Spec, cluster: Cluster = LAPTOP, facts: ModelFacts | None = TINY_FACTS) -> Plan:
    return make_plan(spec, cluster, facts)


def checked(raw: dict[str, Any]) -> DsConfig:
    """The keys as they are read. Raises all that is wrong with them."""
    found = check(raw)
    if found.problems:
        raise together(found.problems)
    return found.config


def warned(raw: dict[str, Any]) -> tuple[str, ...]:
    return check(raw).warnings
